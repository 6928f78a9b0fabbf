#include "cell/fence.hpp"

#include <chrono>

#include <fmt/format.h>

#include "base/json.hpp"

namespace matriarch::cell {

namespace {

// No request takes longer, and the broker keeps graves of its own, so a month suffices and bounds
// the file.
constexpr std::int64_t kept_ms = std::chrono::milliseconds{std::chrono::hours{24 * 30}}.count();

using numbers = std::map<std::string, std::int64_t>;

json::value object_of(const numbers& from, json::document& owner) {
  json::value object{rapidjson::kObjectType};
  for (const auto& [name, number] : from)
    object.AddMember(json::string(name, owner), json::value{number}, owner.GetAllocator());
  return object;
}

result<numbers> numbers_in(const json::document& from, std::string_view name) {
  numbers found;
  const auto* object = json::member(from, name);
  if (!object)
    return found;
  if (!object->IsObject())
    return failure{fmt::format("{} is no object", name)};
  for (const auto& entry : object->GetObject()) {
    if (!entry.value.IsInt64())
      return failure{fmt::format("{} holds something that is no integer", name)};
    found.emplace(std::string{entry.name.GetString(), entry.name.GetStringLength()},
                  entry.value.GetInt64());
  }
  return found;
}

} // namespace

std::optional<std::string> fence::refusal_of(const fencing_claim& claim) const {
  if (!claim.fleet.empty() && !fleet_.empty() && claim.fleet != fleet_)
    return fmt::format("this cell belongs to the fleet {}; the request comes from the fleet {}",
                       fleet_, claim.fleet);
  if (claim.revision && !claim.scope.empty()) {
    auto seen = revisions_.find(claim.scope);
    if (seen != revisions_.end() && *claim.revision < seen->second)
      return fmt::format(
          "the request carries revision {} of {}, but revision {} was already obeyed "
          "here; read the record again",
          *claim.revision, claim.scope, seen->second);
  }
  return std::nullopt;
}

bool fence::note(const fencing_claim& claim) {
  bool changed = false;
  if (!claim.fleet.empty() && fleet_.empty()) {
    fleet_ = claim.fleet;
    changed = true;
  }
  if (claim.revision && !claim.scope.empty()) {
    auto [seen, added] = revisions_.emplace(claim.scope, *claim.revision);
    if (!added && *claim.revision > seen->second) {
      seen->second = *claim.revision;
      added = true;
    }
    changed = changed || added;
  }
  return changed;
}

void fence::bury(const std::string& node_id, std::int64_t now) {
  graves_[node_id] = now;
}

void fence::rest(const endpoint& where, std::int64_t now) {
  resting_[name_of(where)] = now;
}

void fence::occupy(const endpoint& where) {
  resting_.erase(name_of(where));
}

void fence::forget_old(std::int64_t now, const std::set<std::string>& scopes_here) {
  std::erase_if(graves_, [&](const auto& grave) { return now - grave.second > kept_ms; });
  std::erase_if(unused_since_, [&](const auto& one) { return scopes_here.contains(one.first); });
  std::erase_if(revisions_, [&](const auto& one) {
    if (scopes_here.contains(one.first))
      return false;
    auto since = unused_since_.emplace(one.first, now).first;
    bool old = now - since->second > kept_ms;
    if (old)
      unused_since_.erase(since);
    return old;
  });
  std::erase_if(resting_,
                [&](const auto& rest) { return now - rest.second > endpoint_rest.count(); });
}

std::string fence::text() const {
  json::document all;
  all.SetObject();
  json::add(all, "fleet", fleet_, all);
  json::add(all, "revisions", object_of(revisions_, all), all);
  json::add(all, "unused", object_of(unused_since_, all), all);
  json::add(all, "graves", object_of(graves_, all), all);
  json::add(all, "resting", object_of(resting_, all), all);
  return json::text_of(all);
}

result<fence> fence::parse(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{parsed.error()};
  auto revisions = numbers_in(*parsed, "revisions");
  auto unused = numbers_in(*parsed, "unused");
  auto graves = numbers_in(*parsed, "graves");
  auto resting = numbers_in(*parsed, "resting");
  for (const auto* part : {&revisions, &unused, &graves, &resting})
    if (!part->ok())
      return failure{part->error()};
  fence read;
  read.fleet_ = json::string_member(*parsed, "fleet");
  read.revisions_ = *std::move(revisions);
  read.unused_since_ = *std::move(unused);
  read.graves_ = *std::move(graves);
  read.resting_ = *std::move(resting);
  return read;
}

} // namespace matriarch::cell
