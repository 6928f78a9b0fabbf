#include "engines/postgresql/model/settings.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <utility>

#include "base/json.hpp"
#include "model/settings.hpp"

namespace matriarch::engines::postgresql {

namespace {

/// Parameters that must be at least as high on a standby as on its primary (PostgreSQL, "Hot
/// Standby", "Administrator's Overview"), with PostgreSQL's defaults, which are Patroni's, too.
struct standby_limit {
  const char* name;
  std::int64_t otherwise;
};
constexpr std::array<standby_limit, 5> standby_limits{{{"max_connections", 100},
                                                       {"max_locks_per_transaction", 64},
                                                       {"max_prepared_transactions", 0},
                                                       {"max_wal_senders", 10},
                                                       {"max_worker_processes", 8}}};

std::int64_t value_of(const model::cluster_settings& settings, const standby_limit& limit) {
  const auto found = settings.parameters.find(limit.name);
  if (found == settings.parameters.end())
    return limit.otherwise;
  const auto& text = found->second;
  std::int64_t number = limit.otherwise;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

bool raises(const model::cluster_settings& from, const model::cluster_settings& to) {
  return std::ranges::any_of(
      standby_limits, [&](const auto& one) { return value_of(to, one) > value_of(from, one); });
}

bool lowers(const model::cluster_settings& from, const model::cluster_settings& to) {
  return raises(to, from);
}

/// loop_wait + 2 × retry_timeout may not exceed ttl, and Patroni needs at least 1 and 2 seconds.
struct timing {
  std::int64_t ttl;
  std::int64_t retry_timeout = std::max<std::int64_t>(2, ttl / 3);
  std::int64_t loop_wait = std::max<std::int64_t>(1, ttl - 2 * retry_timeout);
};

json::document configuration_of(const model::cluster_settings& wanted) {
  json::document all;
  all.SetObject();
  if (wanted.ttl != 0) {
    const timing times{wanted.ttl};
    json::add(all, "ttl", times.ttl, all);
    json::add(all, "loop_wait", times.loop_wait, all);
    json::add(all, "retry_timeout", times.retry_timeout, all);
  }
  json::add(all, "synchronous_mode", wanted.synchronous != model::synchronous_mode::off, all);
  json::add(all, "synchronous_mode_strict", wanted.synchronous == model::synchronous_mode::strict,
            all);
  return all;
}

json::value parameters_of(const model::cluster_settings& wanted, json::document& owner) {
  json::value parameters{rapidjson::kObjectType};
  for (const auto& [name, text] : wanted.parameters)
    parameters.AddMember(json::string(name, owner), json::string(text, owner),
                         owner.GetAllocator());
  return parameters;
}

std::string with_parameters(json::document all, json::value parameters) {
  json::value postgresql{rapidjson::kObjectType};
  json::add(postgresql, "parameters", std::move(parameters), all);
  json::add(all, "postgresql", std::move(postgresql), all);
  return json::canonical_text_of(all);
}

} // namespace

int wal_senders_beside(int max_connections) {
  // PostgreSQL's default: enough for a cluster's replicas, also those being made, and their copies
  // of the leader.
  constexpr int of_replicas = 10;
  // All backends together may be 262,143; some of them are workers.
  constexpr int most_backends = 262'000;
  return std::max(of_replicas,
                  std::min(max_connections + of_replicas, most_backends - max_connections));
}

void make_room_for_replicas(model::shared_map<std::string, std::string>& parameters) {
  model::cluster_settings settings;
  settings.parameters = parameters;
  const auto connections = value_of(settings, standby_limits[0]);
  const auto senders = value_of(settings, standby_limits[3]);
  const auto needed = wal_senders_beside(static_cast<int>(connections));
  if (senders < needed)
    parameters["max_wal_senders"] = std::to_string(needed);
}

const std::map<std::string, std::string>& default_parameters() {
  static const std::map<std::string, std::string> all{
      // The WAL that a slot may keep on the leader's disk for a replica that does not fetch it.
      // PostgreSQL's default has no bound, and a leader with a full disk serves nobody. At 14 MB/s,
      // which is much for one instance, this lasts five minutes; a replica that stands still longer
      // is copied again.
      {"max_slot_wal_keep_size", "4GB"},
      // Replicas serve readers. Without feedback the leader's vacuum would cancel their longer
      // queries.
      {"hot_standby_feedback", "on"},
  };
  return all;
}

std::string dynamic_configuration(const model::cluster_settings& wanted) {
  auto all = configuration_of(wanted);
  auto parameters = parameters_of(wanted, all);
  json::add(parameters, model::settings_mark, model::digest_of(wanted), all);
  return with_parameters(std::move(all), std::move(parameters));
}

namespace {

/// Of the replication slot by which another cluster's leader streams.
constexpr const char* follower_slot = "matriarch_follower";

/// Patroni's `standby_cluster`; null to follow nobody.
json::value standby_cluster(const std::string& place, json::document& owner) {
  if (place.empty())
    return {};
  const auto colon = place.rfind(':');
  int port = 0;
  std::from_chars(place.data() + colon + 1, place.data() + place.size(), port);
  auto host = place.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) // libpq takes an IPv6 address without them
    host = host.substr(1, host.size() - 2);
  json::value object{rapidjson::kObjectType};
  json::add(object, "host", host, owner);
  json::add(object, "port", port, owner);
  json::add(object, "primary_slot_name", follower_slot, owner);
  return object;
}

} // namespace

std::string change_to_follow(const std::string& place) {
  json::document change;
  change.SetObject();
  json::add(change, "standby_cluster", standby_cluster(place, change), change);
  return json::text_of(change);
}

std::string with_whom_to_follow(const std::string& configuration, const std::string& place) {
  auto whole = json::parse(configuration);
  if (place.empty() || !whole.ok())
    return configuration;
  json::add(*whole, "standby_cluster", standby_cluster(place, *whole), *whole);
  return json::text_of(*whole);
}

std::string change_to_retain(bool keeps) {
  json::document change;
  change.SetObject();
  json::value slots{rapidjson::kObjectType};
  json::value slot;
  if (keeps) {
    slot.SetObject();
    json::add(slot, "type", "physical", change);
  }
  json::add(slots, follower_slot, std::move(slot), change);
  json::add(change, "slots", std::move(slots), change);
  return json::text_of(change);
}

std::string configuration_patch(const model::cluster_settings& from,
                                const model::cluster_settings& to) {
  auto all = configuration_of(to);
  if (from.ttl != 0 && to.ttl == 0)
    for (const char* name : {"ttl", "loop_wait", "retry_timeout"})
      json::add(all, name, json::value{}, all);
  auto parameters = parameters_of(to, all);
  for (const auto& [name, text] : from.parameters)
    if (!to.parameters.contains(name))
      parameters.AddMember(json::string(name, all), json::value{}, all.GetAllocator());
  json::add(parameters, model::settings_mark, model::digest_of(to), all);
  return with_parameters(std::move(all), std::move(parameters));
}

model::restart_order order_of(const model::cluster_settings& from,
                              const model::cluster_settings& to) {
  return lowers(from, to) && !raises(from, to) ? model::restart_order::leader_first
                                               : model::restart_order::replicas_first;
}

model::cluster_settings mixture_of(const model::cluster_settings& older,
                                   const model::cluster_settings& newer) {
  auto mixed = older;
  mixed.parameters.insert(newer.parameters);
  if (mixed.ttl == 0)
    mixed.ttl = newer.ttl;
  for (const auto& one : standby_limits)
    if (value_of(newer, one) > value_of(mixed, one))
      mixed.parameters[one.name] = std::to_string(value_of(newer, one));
  return mixed;
}

model::cluster_settings next_settings(const model::cluster_settings& from,
                                      const model::cluster_settings& to) {
  auto next = to;
  if (raises(from, to) && lowers(from, to))
    for (const auto& one : standby_limits)
      if (value_of(from, one) > value_of(to, one))
        next.parameters[one.name] = std::to_string(value_of(from, one));
  return next;
}

} // namespace matriarch::engines::postgresql
