#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

namespace matriarch::router {

/// An instance that wants a port. The first of several holds it: an instance's first port is never
/// given up for another's second one.
struct port_claim {
  bool is_second = false; ///< it is the read-only port
  std::string instance;
  auto operator<=>(const port_claim&) const = default;
};

/// Which instances want which port, and which holds it.
class port_claims {
public:
  /// Whether that claim holds the port.
  [[nodiscard]] bool holds(std::uint16_t port, const port_claim& one) const;
  /// The instance that holds a claimed port.
  [[nodiscard]] const std::string& holder(std::uint16_t port) const;
  /// Whether the claim holds the port that it asks for.
  [[nodiscard]] bool holds_its_own(const port_claim& one) const;

  /// Sets the port that is claimed; 0 is none. `concerned` gets all other instances that want this
  /// port, or the one claimed before.
  void make(const port_claim& one, std::uint16_t port, std::set<std::string>& concerned);

private:
  std::map<std::uint16_t, std::set<port_claim>> claims_; ///< by port
  std::map<port_claim, std::uint16_t> claimed_;
};

} // namespace matriarch::router
