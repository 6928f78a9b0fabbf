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
  for (auto& one : std::exchange(awaiting_, {}))
    give(std::move(one));
}

/// Groups the keys of `open_`, which are complete.
void service_groups::close() {
  auto group = std::exchange(group_, {});
  auto name = std::exchange(open_, {});
  auto record = std::ranges::find(group, keys::record(name), &store::key_value::key);
  if (group.empty())
    return;
  if (record == group.end()) {
    auto waiting = std::ranges::find_if(
        awaiting_, [&](const known& one) { return one.missing.contains(name); });
    if (waiting == awaiting_.end()) {
      scopes_[name] = std::move(group);
      return;
    }
    std::ranges::move(group, std::back_inserter(waiting->keys));
    waiting->missing.erase(name);
    if (!waiting->missing.empty())
      return;
    auto whole = std::move(*waiting);
    awaiting_.erase(waiting);
    give(std::move(whole));
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
  names_.insert(name);
  for (const auto* cluster : one.start.known->clusters()) {
    if (cluster->scope == name)
      continue;
    if (auto there = scopes_.extract(cluster->scope))
      std::ranges::move(there.mapped(), std::back_inserter(one.keys));
    else
      one.missing.insert(cluster->scope);
  }
  if (one.missing.empty())
    give(std::move(one));
  else
    awaiting_.push_back(std::move(one));
}

void service_groups::give(known one) {
  give_(std::move(one.start), std::move(one.keys));
}

} // namespace matriarch::actors
