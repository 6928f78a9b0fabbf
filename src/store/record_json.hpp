#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "model/record.hpp"
#include "store/keyring.hpp"

/// The values of instances' keys. The record has the field names of the seeds' etcd schema, so that
/// programs written for the original can read it.
namespace matriarch::store {

/// Seals passwords with `keys`.
[[nodiscard]] std::string encode_record(const model::record& known, const keyring& keys);
/// Unknown members are kept in `unknown` and written back, so that nothing is lost while brokers of
/// two releases take turns. Refuses a value whose `min_reader` is too high (formats.hpp).
[[nodiscard]] result<model::record> decode_record(std::string_view text, const keyring& keys);
/// Drops the unknown members of parts (a node, an operation) that `text`, made from the record, no
/// longer contains. Otherwise a later part in the same place would get these members.
void forget_what_is_gone(model::record& written, std::string_view text);

} // namespace matriarch::store
