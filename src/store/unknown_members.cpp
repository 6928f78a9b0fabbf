#include "store/unknown_members.hpp"

#include <algorithm>
#include <string>

namespace matriarch::store {

namespace {

// unknown_in() makes an object with the unknown members under this name, and beside it one entry
// for each known member that has unknown members inside. No stored object has a member of this
// name.
constexpr std::string_view here = "";
// A stored value is at most 64 levels deep. unknown_in() adds two levels: `here`, and the key of an
// object that has one.
constexpr std::size_t deepest = 66;

std::string_view name_of(const json::value::Member& one) {
  return {one.name.GetString(), one.name.GetStringLength()};
}

/// Adds a copy.
void put(json::value& object, std::string_view name, const json::value& what,
         json::document& owner) {
  object.AddMember(json::string(name, owner), json::value{what, owner.GetAllocator()},
                   owner.GetAllocator());
}

/// Adds `what` unless it is empty.
void put_filled(json::value& object, std::string_view name, json::value what,
                json::document& owner) {
  if (!what.ObjectEmpty())
    object.AddMember(json::string(name, owner), what, owner.GetAllocator());
}

/// The text or number that identifies an object; empty if it has none.
std::string text_of_key(const json::value& object, std::string_view key) {
  const auto* found = json::member(object, key);
  return found != nullptr && found->IsNumber() ? json::text_of(*found)
                                               : json::string_member(object, key);
}

// -- reading unknown members ----------------------------------------------------------------------

json::value unknown_of(const json::value& object, const known_members& known,
                       json::document& owner);

/// Notes an object's unknown members under the object's key, so that they are not given to another
/// object in its place.
void put_by_key(json::value& found, const json::value& object, std::string_view key,
                const known_members& known, json::document& owner) {
  auto which = text_of_key(object, key);
  if (!which.empty() && json::member(found, which) == nullptr)
    put_filled(found, which, unknown_of(object, known, owner), owner);
}

json::value unknown_of_object(const json::value& inner, const known_members::object& known,
                              json::document& owner) {
  if (known.key.empty())
    return unknown_of(inner, *known.members, owner);
  json::value found{rapidjson::kObjectType};
  put_by_key(found, inner, known.key, *known.members, owner);
  return found;
}

json::value unknown_of_list(const json::value& all, const known_members::list& known,
                            json::document& owner) {
  json::value found{rapidjson::kObjectType};
  for (const auto& one : all.GetArray())
    if (one.IsObject())
      put_by_key(found, one, known.key, *known.entry, owner);
  return found;
}

json::value unknown_of_map(const json::value& all, const known_members::object& known,
                           json::document& owner) {
  json::value found{rapidjson::kObjectType};
  for (const auto& one : all.GetObject())
    if (one.value.IsObject())
      put_filled(found, name_of(one), unknown_of_object(one.value, known, owner), owner);
  return found;
}

/// The unknown members inside a known member; an empty object if there are none.
json::value unknown_inside(const json::value::Member& one, const known_members& known,
                           json::document& owner) {
  const auto name = name_of(one);
  auto called = [&](const auto& all) {
    return std::ranges::find_if(all, [&](const auto& entry) { return entry.name == name; });
  };
  if (one.value.IsObject())
    if (auto found = called(known.objects); found != known.objects.end())
      return unknown_of_object(one.value, *found, owner);
  if (one.value.IsArray())
    if (auto found = called(known.lists); found != known.lists.end())
      return unknown_of_list(one.value, *found, owner);
  if (one.value.IsObject())
    if (auto found = called(known.maps); found != known.maps.end())
      return unknown_of_map(one.value, *found, owner);
  return json::value{rapidjson::kObjectType};
}

json::value unknown_of(const json::value& object, const known_members& known,
                       json::document& owner) {
  json::value found{rapidjson::kObjectType};
  json::value own{rapidjson::kObjectType};
  // A broker reads all records when it starts. Their members are nearly always in the order of
  // `names`: search from where the last one was found.
  const auto& names = known.names;
  auto next = names.begin();
  for (const auto& one : object.GetObject()) {
    auto at = std::find(next, names.end(), name_of(one));
    if (at == names.end())
      at = std::find(names.begin(), names.end(), name_of(one));
    if (at == names.end()) {
      put(own, name_of(one), one.value, owner);
      continue;
    }
    next = at + 1;
    if (one.value.IsObject() || one.value.IsArray())
      put_filled(found, name_of(one), unknown_inside(one, known, owner), owner);
  }
  put_filled(found, here, std::move(own), owner);
  return found;
}

// -- writing them back ----------------------------------------------------------------------------

/// The member of that name; nullptr if there is none.
json::value* inner_of(json::value& object, std::string_view name) {
  return const_cast<json::value*>(json::member(object, name));
}

void add(json::value& object, const json::value& unknown, const known_members& known,
         json::document& owner);

/// Adds the unknown members that were noted under the object's key.
void add_by_key(json::value& object, const json::value& unknown, std::string_view key,
                const known_members& known, json::document& owner) {
  if (const auto* inside = json::member(unknown, text_of_key(object, key)))
    add(object, *inside, known, owner);
}

void add_to_object(json::value& inner, const json::value& unknown,
                   const known_members::object& known, json::document& owner) {
  if (known.key.empty())
    add(inner, unknown, *known.members, owner);
  else
    add_by_key(inner, unknown, known.key, *known.members, owner);
}

void add(json::value& object, const json::value& unknown, const known_members& known,
         json::document& owner) {
  if (const auto* own = json::member(unknown, here))
    for (const auto& one : own->GetObject())
      if (json::member(object, name_of(one)) == nullptr)
        put(object, name_of(one), one.value, owner);
  for (const auto& one : known.objects) {
    const auto* inside = json::member(unknown, one.name);
    auto* inner = inner_of(object, one.name);
    if (inside != nullptr && inner != nullptr && inner->IsObject())
      add_to_object(*inner, *inside, one, owner);
  }
  for (const auto& one : known.lists) {
    const auto* inside = json::member(unknown, one.name);
    auto* all = inner_of(object, one.name);
    if (inside == nullptr || all == nullptr || !all->IsArray())
      continue;
    for (auto& entry : all->GetArray())
      if (entry.IsObject())
        add_by_key(entry, *inside, one.key, *one.entry, owner);
  }
  for (const auto& map : known.maps) {
    const auto* inside = json::member(unknown, map.name);
    auto* all = inner_of(object, map.name);
    if (inside == nullptr || all == nullptr || !all->IsObject())
      continue;
    for (const auto& one : inside->GetObject())
      if (auto* kept = inner_of(*all, name_of(one)); kept != nullptr && kept->IsObject())
        add_to_object(*kept, one.value, map, owner);
  }
}

bool has_old_seal(const json::value& what, const keyring& keys) {
  if (what.IsString()) {
    std::string_view text{what.GetString(), what.GetStringLength()};
    return keyring::is_sealed(text) && !keys.seals_like(text);
  }
  if (what.IsObject())
    return std::ranges::any_of(what.GetObject(),
                               [&](const auto& one) { return has_old_seal(one.value, keys); });
  return what.IsArray() && std::ranges::any_of(what.GetArray(), [&](const auto& one) {
           return has_old_seal(one, keys);
         });
}

} // namespace

bool has_old_seals(const model::unknown_members& unknown, const keyring& keys) {
  if (unknown.empty())
    return false;
  auto parsed = json::parse(unknown.text(), deepest);
  return parsed.ok() && has_old_seal(*parsed, keys);
}

model::unknown_members unknown_in(const json::value& object, const known_members& known) {
  if (!object.IsObject())
    return {};
  json::document owner;
  auto found = unknown_of(object, known, owner);
  return model::unknown_members{found.ObjectEmpty() ? std::string{}
                                                    : json::canonical_text_of(found)};
}

void add_unknown(json::value& object, const model::unknown_members& unknown,
                 const known_members& known, json::document& owner) {
  if (unknown.empty())
    return;
  if (auto parsed = json::parse(unknown.text(), deepest); parsed.ok())
    add(object, *parsed, known, owner);
}

} // namespace matriarch::store
