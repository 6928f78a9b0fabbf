// A pretended later release: it writes format 2, which readers of format 1 may read, with members
// in each value, at every depth, that those readers do not know. It is linked before
// store/own_format.cpp, and replaces it.
#include <string_view>

#include "store/formats.hpp"

namespace matriarch::store {

namespace {

constexpr std::string_view own_member = "of_the_next_release";

/// The objects to which this release adds members; other values are lists of texts, or the user's
/// own.
bool has_members(std::string_view name) {
  for (std::string_view one :
       {"desired", "settings", "in_force", "taking_up", "operation", "desired_before", "nodes",
        "ended_bindings", "role", "superuser_credentials", "process"})
    if (one == name)
      return true;
  return false;
}

void add_own(json::value& object, json::document& owner) {
  json::value kept{rapidjson::kArrayType};
  kept.PushBack(1, owner.GetAllocator()).PushBack("two", owner.GetAllocator());
  kept.PushBack(json::value{}, owner.GetAllocator());
  if (!object.HasMember(json::string(own_member, owner)))
    json::add(object, own_member, std::move(kept), owner);
}

void add_below(json::value& object, json::document& owner) {
  for (auto& one : object.GetObject()) {
    std::string_view name{one.name.GetString(), one.name.GetStringLength()};
    if (!has_members(name))
      continue;
    if (one.value.IsArray()) {
      for (auto& entry : one.value.GetArray())
        add_own(entry, owner);
    } else if (name == "ended_bindings") {
      for (auto& entry : one.value.GetObject())
        add_own(entry.value, owner);
    } else if (one.value.IsObject()) {
      add_below(one.value, owner);
      add_own(one.value, owner);
    }
  }
}

} // namespace

const int own_format = 3;
const int own_min_reader = 1;

void add_format(json::document& value, int min_reader) {
  add_below(value, value);
  add_own(value, value);
  json::add(value, "format", own_format, value);
  json::add(value, "min_reader", min_reader, value);
}

} // namespace matriarch::store
