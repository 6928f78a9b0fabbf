#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

/// The value of the active broker's key.
namespace matriarch::store {

/// The holder of `/matriarch/active`.
struct active_broker {
  std::string broker_id; ///< different for each run of a broker
  std::string address;   ///< the `host:port` at which it listens
  /// The name of its machine, for people who read the key.
  std::string host = {};
  /// Identifies the network in which the address is valid: two brokers with the same `machine`
  /// cannot both listen at it. Empty if unknown.
  std::string machine = {};
};
[[nodiscard]] std::string encode_active(const active_broker& who);
[[nodiscard]] result<active_broker> decode_active(std::string_view text);

} // namespace matriarch::store
