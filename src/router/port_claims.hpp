#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace matriarch::router {

/// An instance that wants a port. Of several the first has it: no first port is given up for a
/// second one.
struct port_claim {
  bool is_second = false; ///< it is the read-only port
  std::string instance;
  auto operator<=>(const port_claim&) const = default;
};

/// Who wants which port.
class port_claims {
public:
  /// Whether that one has the port.
  [[nodiscard]] bool holds(std::uint16_t port, const port_claim& one) const;
  /// Who has a port that is claimed.
  [[nodiscard]] const std::string& holder(std::uint16_t port) const;
  /// Whether it has the port that it claims.
  [[nodiscard]] bool holds_its_own(const port_claim& one) const;

  /// Makes `port` what is claimed; 0 is none. `concerned` gets all others who want it, or what was
  /// claimed before.
  void make(const port_claim& one, std::uint16_t port, std::set<std::string>& concerned);

private:
  std::map<std::uint16_t, std::set<port_claim>> claims_; ///< by port
  std::map<port_claim, std::uint16_t> claimed_;
};

} // namespace matriarch::router
