#include "router/port_claims.hpp"

namespace matriarch::router {

bool port_claims::holds(std::uint16_t port, const port_claim& one) const {
  auto found = claims_.find(port);
  return found != claims_.end() && *found->second.begin() == one;
}

const std::string& port_claims::holder(std::uint16_t port) const {
  return claims_.at(port).begin()->instance;
}

bool port_claims::holds_its_own(const port_claim& one) const {
  auto found = claimed_.find(one);
  return found != claimed_.end() && holds(found->second, one);
}

void port_claims::make(const port_claim& one, std::uint16_t port,
                       std::set<std::string>& concerned) {
  auto known = claimed_.find(one);
  const auto before = known == claimed_.end() ? std::uint16_t{0} : known->second;
  if (before == port)
    return;
  auto concern = [&](const std::set<port_claim>& claims) {
    for (const auto& other : claims)
      if (other.instance != one.instance)
        concerned.insert(other.instance);
  };
  if (before != 0) {
    auto& claims = claims_[before];
    concern(claims);
    claims.erase(one);
    if (claims.empty())
      claims_.erase(before);
    claimed_.erase(known);
  }
  if (port != 0) {
    claimed_.emplace(one, port);
    auto& claims = claims_[port];
    claims.insert(one);
    concern(claims);
  }
}

} // namespace matriarch::router
