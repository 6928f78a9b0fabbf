#include "actors/service_groups.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include <spdlog/spdlog.h>

#include "store/keys.hpp"
#include "store/record_json.hpp"

namespace matriarch::actors {

namespace keys = store::keys;

service_key::service_key(std::string_view key) {
  if (!key.starts_with(keys::services))
    return;
  key.remove_prefix(keys::services.size());
  auto slash = key.find('/');
  first = key.substr(0, slash);
  if (slash != std::string_view::npos)
    rest = key.substr(slash + 1);
}

void service_groups::add(const std::vector<store::key_value>& some) {
  for (const auto& entry : some) {
    service_key key{entry.key};
    if (key.first.empty())
      continue;
    if (key.first != open_) {
      close();
      open_ = key.first;
    }
    group_.push_back(entry);
  }
}

void service_groups::end() {
  close();
  for (auto& [scope, one] : std::exchange(awaiting_, {}))
    give(std::move(one), {});
}

/// All keys of `open_` have come.
void service_groups::close() {
  auto group = std::exchange(group_, {});
  auto name = std::exchange(open_, {});
  auto record = std::ranges::find(group, keys::record(name), &store::key_value::key);
  if (group.empty())
    return;
  if (record == group.end()) {
    if (auto waiting = awaiting_.extract(name))
      give(std::move(waiting.mapped()), std::move(group));
    else
      scopes_[name] = std::move(group);
    return;
  }
  auto read = store::decode_record(record->value, keyring_);
  if (!read.ok()) {
    spdlog::error("{} cannot be read and is left alone: {}", record->key, read.error());
    unreadable_.insert(name);
    return;
  }
  known one;
  one.start.name = name;
  one.start.at = record->mod_revision;
  one.start.known = std::move(*read);
  one.keys = std::move(group);
  const auto scope = one.start.known->living.scope;
  names_.insert(name);
  if (scope == name)
    give(std::move(one), {});
  else if (auto there = scopes_.extract(scope))
    give(std::move(one), std::move(there.mapped()));
  else
    awaiting_[scope] = std::move(one);
}

void service_groups::give(known one, std::vector<store::key_value> of_scope) {
  std::ranges::move(of_scope, std::back_inserter(one.keys));
  give_(std::move(one.start), std::move(one.keys));
}

} // namespace matriarch::actors
