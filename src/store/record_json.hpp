#pragma once

#include <set>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/observation.hpp"
#include "model/orphans.hpp"
#include "model/ports.hpp"
#include "model/record.hpp"
#include "store/keyring.hpp"

/// The values of this program's etcd keys, and of those nodes' keys that it reads. The record has the
/// field names of the seeds' etcd schema, so that programs written for the original can read it.
namespace matriarch::store {

/// Seals passwords with `keys`.
[[nodiscard]] std::string encode_record(const model::record& known, const keyring& keys);
/// Unknown members are kept in `unknown` and written back, so that nothing is lost while brokers of
/// two releases take turns. Refuses a value whose `min_reader` is too high (formats.hpp).
[[nodiscard]] result<model::record> decode_record(std::string_view text, const keyring& keys);
/// Drops the unknown members of parts (a node, an operation) that `text`, made from the record, no
/// longer contains. Otherwise a later part in the same place would get these members.
void forget_what_is_gone(model::record& written, std::string_view text);

/// `name`: the instance's name in keys. A sealed password can be opened only in its own binding.
[[nodiscard]] std::string encode_binding(const model::binding& known, std::string_view name,
                                         const keyring& keys);
[[nodiscard]] result<model::binding> decode_binding(std::string_view text, std::string_view name,
                                                    const keyring& keys);

[[nodiscard]] std::string encode_tombstone(const model::tombstone& known);
[[nodiscard]] result<model::tombstone> decode_tombstone(std::string_view text);

[[nodiscard]] std::string encode_grave(const model::grave& known);
/// Accepts any text whose `min_reader` is low enough: the earliest graves contain only the scope.
[[nodiscard]] result<model::grave> decode_grave(std::string_view text);

/// The text of a grave that replaces an earlier one of the same node; keeps that one's unknown
/// members.
[[nodiscard]] std::string encode_over(std::string_view before, model::grave known);

[[nodiscard]] std::string encode_port_use(const model::port_use& use);
/// `revision`: the key's.
[[nodiscard]] result<model::port_use> decode_port_use(std::string_view text, std::int64_t revision);
/// `text`, which replaces an earlier use of the same port, with the unknown members of `before`. If
/// `before` is another instance's use, its unknown members are dropped: they are not true of this
/// instance.
[[nodiscard]] std::string with_unknown_of(const model::port_use& before, std::string text);

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
