#include "router/routing_table.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "router/routing_keys.hpp"
#include "store/keys.hpp"
#include "store/router_json.hpp"

namespace matriarch::router {

namespace {

/// How many of a scope's members that no record lists are kept. A record may come after its
/// members' keys, as in each listing; but whoever controls a node can write as many keys as etcd
/// takes.
constexpr std::size_t most_unlisted = 100;
} // namespace

bool routing_table::put(std::string_view key, std::string_view value) {
  auto about = meaning_of(key);
  std::string owner{about.owner};
  if (about.is == key_kind::allocation || about.is == key_kind::read_only_allocation
      || about.is == key_kind::routing || about.is == key_kind::record
      || about.is == key_kind::leader)
    news_ = true;
  switch (about.is) {
  case key_kind::allocation:
  case key_kind::read_only_allocation: {
    auto& known = (about.is == key_kind::allocation ? allocations_ : read_only_allocations_)[owner];
    if (known == value)
      return false;
    known = value;
    touch(owner);
    return true;
  }
  case key_kind::record:
    return put_record(owner, record_of(owner, value, *engines_));
  case key_kind::member:
    return put_member(owner, std::string{about.member}, value);
  case key_kind::leader: {
    auto& known = clusters_[owner].leader;
    if (known != value)
      leader_changes_.push_back(
          {owner, std::exchange(known, std::string{value}), std::string{value}});
    return false;
  }
  case key_kind::config: {
    auto& known = clusters_[owner].max_connections;
    auto now = std::optional{max_connections_in_config(value, *engines_)};
    if (std::exchange(known, now) == now)
      return false;
    touch_scope(owner);
    return true;
  }
  case key_kind::router:
    return note_router(std::string{key}, value);
  case key_kind::authority:
    if (authority_ == value)
      return false;
    authority_ = value;
    return true;
  case key_kind::routing:
  case key_kind::other:
    return false;
  }
  return false;
}

bool routing_table::put_record(const std::string& instance, routed_record now) {
  if (!now.is_ahead.empty()) {
    auto& why = ahead_[instance];
    if (why == now.is_ahead)
      return false;
    why = std::move(now.is_ahead);
    touch(instance);
    return true;
  }
  const auto was_ahead = ahead_.erase(instance) > 0;
  auto& known = records_[instance];
  if (known == now && !was_ahead)
    return false;
  auto before = std::exchange(known, std::move(now));
  instances_of_[known.scope].insert(instance);
  if (before.scope != known.scope)
    leave_scope(before.scope, instance);
  else
    forget(known.scope); // members that only the old record listed
  note_unread(known);
  touch(instance);
  return true;
}

bool routing_table::put_member(const std::string& scope, const std::string& name,
                               std::string_view value) {
  unread_.erase(store::keys::member(scope, name));
  const auto listed = is_listed(scope, name);
  auto& members = clusters_[scope].members;
  auto known = members.find(name);
  if (!listed && known == members.end() && members.size() >= most_unlisted) {
    crowded_.insert(scope);
    return false;
  }
  announced_member now{member_of(name, value), true, state_of_member(value)};
  if (known != members.end() && known->second == now)
    return false;
  auto is_elsewhere = known == members.end() || known->second.member != now.member
                      || known->second.has_key != now.has_key;
  members.insert_or_assign(name, std::move(now));
  if (!listed) // the record that lists it will look at it
    return false;
  news_ = true;
  if (is_elsewhere)
    touch_scope(scope);
  return is_elsewhere;
}

bool routing_table::put_read(const std::string& key, std::optional<std::string_view> value) {
  return unread_.erase(key) > 0 && value && put(key, *value);
}

void routing_table::note_unread(const routed_record& known) {
  if (!crowded_.contains(known.scope))
    return;
  for (const auto& [node, place] : known.nodes)
    if (!is_known(known.scope, node))
      unread_.insert(store::keys::member(known.scope, node));
}

bool routing_table::erase(std::string_view key) {
  auto about = meaning_of(key);
  std::string owner{about.owner};
  const auto is_news =
      about.is != key_kind::other && about.is != key_kind::router
      && (about.is != key_kind::member || is_listed(owner, std::string{about.member}));
  news_ = news_ || is_news;
  switch (about.is) {
  case key_kind::allocation:
    touch(owner);
    return allocations_.erase(owner) > 0;
  case key_kind::read_only_allocation:
    touch(owner);
    return read_only_allocations_.erase(owner) > 0;
  case key_kind::record: {
    const auto was_ahead = ahead_.erase(owner) > 0;
    if (was_ahead)
      touch(owner);
    auto known = records_.extract(owner);
    if (!known)
      return was_ahead;
    leave_scope(known.mapped().scope, owner);
    touch(owner);
    return true;
  }
  case key_kind::member: {
    unread_.erase(std::string{key});
    auto known = clusters_.find(owner);
    if (known == clusters_.end())
      return false;
    auto gone = known->second.members.find(std::string{about.member});
    if (gone == known->second.members.end())
      return false;
    gone->second.has_key = false;
    forget(owner); // unless a record lists it
    return false;
  }
  case key_kind::leader:
    // A vanished leader key does not mean that another member leads: the last leader stays known.
    forget(owner);
    return false;
  case key_kind::router:
    return routers_.erase(std::string{key}) > 0;
  case key_kind::config: // the cluster is being removed, or gets a new one at once
  case key_kind::authority:
  case key_kind::routing:
  case key_kind::other:
    return false;
  }
  return false;
}

void routing_table::begin_listing() {
  listed_.clear();  // what a dropped listing has changed stays changed
  crowded_.clear(); // the listing reports all members again
}

void routing_table::list(const std::string& key, std::string_view value) {
  auto about = meaning_of(key);
  if (about.is == key_kind::other)
    return;
  changed_by_listing_ = put(key, value) || changed_by_listing_;
  if (about.is != key_kind::member || is_known(std::string{about.owner}, std::string{about.member}))
    listed_.insert(key);
}

bool routing_table::end_listing() {
  std::vector<std::string> gone;
  auto note = [&](std::string key) {
    if (!listed_.contains(key))
      gone.push_back(std::move(key));
  };
  for (const auto& [key, serves] : routers_)
    note(key);
  for (const auto& [instance, port] : allocations_)
    note(store::keys::allocation(instance));
  for (const auto& [instance, port] : read_only_allocations_)
    note(store::keys::read_only_allocation(instance));
  for (const auto& [scope, known] : clusters_)
    for (const auto& [name, member] : known.members)
      if (member.has_key)
        note(store::keys::member(scope, name));
  // Records come last: a member is judged by the record that listed it.
  for (const auto& [instance, known] : records_)
    note(store::keys::record(instance));
  for (const auto& [instance, why] : ahead_)
    if (!records_.contains(instance))
      note(store::keys::record(instance));
  for (const auto& key : gone)
    changed_by_listing_ = erase(key) || changed_by_listing_;
  listed_.clear();
  return std::exchange(changed_by_listing_, false);
}

bool routing_table::note_router(const std::string& key, std::string_view value) {
  auto said = store::decode_router_report(value);
  return routers_.insert_or_assign(key, said ? said->serves : 0).second;
}

bool routing_table::has_router(std::string_view id) const {
  return routers_.contains(store::keys::router(id));
}

bool routing_table::others_serve(std::string_view id, std::int64_t at) const {
  return std::all_of(routers_.begin(), routers_.end(), [&](const auto& one) {
    return one.first == store::keys::router(id) || one.second >= at;
  });
}

bool routing_table::is_listed(const std::string& scope, const std::string& node) const {
  auto found = instances_of_.find(scope);
  return found != instances_of_.end()
         && std::ranges::any_of(found->second, [&](const auto& instance) {
              return records_.find(instance)->second.nodes.contains(node);
            });
}

bool routing_table::is_known(const std::string& scope, const std::string& node) const {
  auto found = clusters_.find(scope);
  return found != clusters_.end() && found->second.members.contains(node);
}

void routing_table::leave_scope(const std::string& scope, const std::string& instance) {
  if (auto found = instances_of_.find(scope);
      found != instances_of_.end() && found->second.erase(instance) > 0 && found->second.empty())
    instances_of_.erase(found);
  forget(scope);
}

void routing_table::forget(const std::string& scope) {
  auto known = clusters_.find(scope);
  if (known == clusters_.end())
    return;
  std::size_t kept = 0;
  std::erase_if(known->second.members, [&](const auto& entry) {
    if (is_listed(scope, entry.first))
      return false;
    if (entry.second.has_key && kept < most_unlisted) {
      ++kept;
      return false;
    }
    if (entry.second.has_key)
      crowded_.insert(scope);
    return true;
  });
  if (known->second.members.empty() && !instances_of_.contains(scope))
    clusters_.erase(known);
}

const std::set<std::string>& routing_table::instances_of(const std::string& scope) const {
  static const std::set<std::string> none;
  auto found = instances_of_.find(scope);
  return found == instances_of_.end() ? none : found->second;
}

void routing_table::touch_scope(const std::string& scope) {
  for (const auto& instance : instances_of(scope))
    touch(instance);
}

routing_table::candidate routing_table::candidate_of(const std::string& instance) const {
  candidate one;
  auto known = records_.find(instance);
  if (!allocations_.contains(instance) || known == records_.end() || !known->second.accepted)
    return one;
  const auto& scope = known->second.scope;
  auto found = clusters_.find(scope);
  const auto* of = found == clusters_.end() ? nullptr : &found->second;
  auto configured = of != nullptr ? of->max_connections : std::nullopt;
  one.wanted = route{instance,
                     scope,
                     0,
                     {},
                     0,
                     known->second.engine,
                     max_connections_of(known->second, configured)};
  if (of == nullptr)
    return one;
  for (const auto& [name, place] : known->second.nodes) {
    auto announced = of->members.find(name);
    if (announced == of->members.end() || !announced->second.member)
      continue;
    if (auto member = vetted(announced->second.member, place)) {
      one.wanted->members.push_back(*member);
      one.wanted->members.back().held_back = known->second.held_back.contains(name);
    } else {
      one.unplaced = name;
    }
  }
  return one;
}

served_instance routing_table::judged(const std::string& instance, candidate from) const {
  served_instance one;
  if (auto ahead = ahead_.find(instance); ahead != ahead_.end()) {
    for (const auto* given : {&allocations_, &read_only_allocations_})
      if (auto text = given->find(instance); text != given->end())
        if (auto port = port_of(text->second))
          one.stay.push_back(*port);
    one.unserved.push_back(
        {one.stay.empty() ? 0 : one.stay.front(), instance,
         "its record must not be read, and it is served as it was last: " + ahead->second});
    return one;
  }
  auto& [wanted, unplaced] = from;
  // An invalid port is reported even before there is a member.
  if (!wanted
      || (wanted->members.empty() && unplaced.empty()
          && port_of(allocations_.find(instance)->second)))
    return one;
  // The port allocated to the instance, if the instance can have it.
  auto port_for = [&](const std::string& text, bool is_second) -> std::uint16_t {
    auto port = port_of(text);
    if (!port) {
      one.unserved.push_back({0, instance,
                              "its allocation in etcd is no port, 1 to 65535; write "
                              "the instance's port there"});
      return 0;
    }
    if (claims_.holds(*port, {is_second, instance}))
      return *port;
    one.unserved.push_back({*port, instance,
                            fmt::format("its port is allocated to instance {} too; give one of "
                                        "them another",
                                        claims_.holder(*port))});
    return 0;
  };
  wanted->port = port_for(allocations_.find(instance)->second, false);
  if (wanted->port == 0)
    return one;
  if (!unplaced.empty())
    one.unserved.push_back(
        {wanted->port, instance,
         fmt::format("node {} is a member, and its cell has not said where it is", unplaced)});
  if (wanted->members.empty())
    return one;
  if (auto given = read_only_allocations_.find(instance); given != read_only_allocations_.end())
    wanted->read_only_port = port_for(given->second, true);
  one.served = std::move(wanted);
  return one;
}

void routing_table::judge_touched() {
  std::map<std::string, candidate> candidates;
  auto candidate_for = [&](const std::string& instance) -> candidate& {
    auto [found, is_new] = candidates.try_emplace(instance);
    if (is_new)
      found->second = candidate_of(instance);
    return found->second;
  };
  // First ports depend on no other instance, second ports on the holders of the first, routes on
  // both.
  std::set<std::string> others;
  for (const auto& instance : touched_) {
    const auto& [wanted, unplaced] = candidate_for(instance);
    auto claims = wanted && (!wanted->members.empty() || !unplaced.empty());
    auto port = claims ? port_of(allocations_.find(instance)->second) : std::nullopt;
    claims_.make({false, instance}, port.value_or(0), others);
  }
  touched_.merge(others);
  for (const auto& instance : touched_) {
    auto given = read_only_allocations_.find(instance);
    auto claims = given != read_only_allocations_.end() && claims_.holds_its_own({false, instance})
                  && !candidate_for(instance).wanted->members.empty();
    auto port = claims ? port_of(given->second) : std::nullopt;
    claims_.make({true, instance}, port.value_or(0), others);
  }
  touched_.merge(others);
  for (const auto& instance : touched_) {
    auto now = judged(instance, std::move(candidate_for(instance)));
    if (now == of(instance))
      continue;
    changed_.insert(instance);
    if (now == served_instance{})
      instances_.erase(instance);
    else
      instances_.insert_or_assign(instance, std::move(now));
  }
  touched_.clear();
}

std::set<std::string> routing_table::take_changes() {
  judge_touched();
  return std::exchange(changed_, {});
}

const served_instance& routing_table::of(const std::string& instance) const {
  static const served_instance nothing;
  auto known = instances_.find(instance);
  return known == instances_.end() ? nothing : known->second;
}

routes routing_table::current() {
  judge_touched();
  routes all;
  for (const auto& [instance, one] : instances_) {
    if (one.served)
      all.served.push_back(*one.served);
    all.unserved.insert(all.unserved.end(), one.unserved.begin(), one.unserved.end());
  }
  return all;
}

std::vector<leader_change> routing_table::take_leader_changes() {
  return std::exchange(leader_changes_, {});
}

std::string routing_table::leader(const std::string& scope) const {
  auto known = clusters_.find(scope);
  return known == clusters_.end() ? std::string{} : known->second.leader;
}

} // namespace matriarch::router
