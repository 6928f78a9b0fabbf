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

/// The values of this program's keys in etcd, and of those of the nodes' that it reads. The record
/// has the field names of the seeds' etcd schema, so that what was written for the original reads
/// on.
namespace matriarch::store {

/// Passwords are sealed with `keys`.
[[nodiscard]] std::string encode_record(const model::record& known, const keyring& keys);
/// Members that are not known are kept in `unknown` and written back, so that nothing is lost while
/// brokers of two releases take turns. What a later release wrote for its own readers alone (formats.hpp)
/// is refused.
[[nodiscard]] result<model::record> decode_record(std::string_view text, const keyring& keys);
/// What is not in the text any more that was made of a record (a node, an operation) has taken along what
/// was unknown of it. Else it would be found in what has its place later.
void forget_what_is_gone(model::record& written, std::string_view text);

/// `name` is the instance's, as in its keys: a sealed password opens in its own binding only.
[[nodiscard]] std::string encode_binding(const model::binding& known, std::string_view name,
                                         const keyring& keys);
[[nodiscard]] result<model::binding> decode_binding(std::string_view text, std::string_view name,
                                                    const keyring& keys);

[[nodiscard]] std::string encode_tombstone(const model::tombstone& known);
[[nodiscard]] result<model::tombstone> decode_tombstone(std::string_view text);

[[nodiscard]] std::string encode_grave(const model::grave& known);
/// Any text is one, if it is not for readers of a later release alone: the earliest graves held the bare
/// scope.
[[nodiscard]] result<model::grave> decode_grave(std::string_view text);

/// One that takes the place of another of the same node, whose unknown members are kept.
[[nodiscard]] std::string encode_over(std::string_view before, model::grave known);

[[nodiscard]] std::string encode_port_use(const model::port_use& use);
/// `revision` is the key's own.
[[nodiscard]] result<model::port_use> decode_port_use(std::string_view text, std::int64_t revision);
/// The text of a use that takes the place of another one of the same port, with what was unknown of that
/// one. Of another instance's use nothing is kept: it would be taken for what this instance has.
[[nodiscard]] std::string with_unknown_of(const model::port_use& before, std::string text);

/// Who holds `/matriarch/active`.
struct active_broker {
  std::string broker_id; ///< of one run of one broker
  std::string address;   ///< `host:port` it listens at
  /// The name of its machine, for those who read the key.
  std::string host = {};
  /// Where that address is an address: two brokers with the same `machine` cannot both listen at
  /// it. Empty if that is not known.
  std::string machine = {};
};
[[nodiscard]] std::string encode_active(const active_broker& who);
[[nodiscard]] result<active_broker> decode_active(std::string_view text);

} // namespace matriarch::store
