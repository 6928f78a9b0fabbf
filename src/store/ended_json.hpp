#pragma once

#include <map>
#include <string>

#include "base/json.hpp"
#include "model/record.hpp"
#include "store/stored_object.hpp"
#include "store/unknown_members.hpp"

/// The list of ended bindings, in the record and in the tombstone.
namespace matriarch::store {

extern const known_members ended_members;

void add_ended(writer& out, const std::map<std::string, model::ended_binding>& bindings);
[[nodiscard]] std::map<std::string, model::ended_binding> read_ended(const json::value& object);

} // namespace matriarch::store
