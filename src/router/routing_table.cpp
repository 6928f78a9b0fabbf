#include "router/routing_table.hpp"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/json.hpp"
#include "model/record.hpp"
#include "model/words.hpp"
#include "store/keys.hpp"
#include "store/router_json.hpp"

namespace matriarch::router {

namespace {

enum class kind {
  other,
  allocation,
  read_only_allocation,
  authority,
  routing, ///< something else below /routing/
  record,
  member,
  leader,
  config,
  router
};

/// What a key is about: `owner` is the instance or the scope.
struct meaning {
  kind is = kind::other;
  std::string_view owner = {};
  std::string_view member = {};
};

meaning meaning_of(std::string_view key) {
  for (auto [prefix, is] :
       {std::pair<std::string_view, kind>{store::keys::allocations, kind::allocation},
        {store::keys::read_only_allocations, kind::read_only_allocation}}) {
    if (!key.starts_with(prefix))
      continue;
    auto instance = key.substr(prefix.size());
    if (!instance.empty() && instance.find('/') == std::string_view::npos)
      return {is, instance};
    return {};
  }
  if (key == store::keys::shown_authority)
    return {kind::authority};
  if (key.starts_with(store::keys::routing))
    return {kind::routing};
  if (key.starts_with(store::keys::routers))
    return {kind::router};
  if (!key.starts_with(store::keys::services))
    return {};
  auto rest = key.substr(store::keys::services.size());
  auto slash = rest.find('/');
  if (slash == 0 || slash == std::string_view::npos)
    return {};
  auto owner = rest.substr(0, slash);
  rest = rest.substr(slash + 1);
  if (rest == "state")
    return {kind::record, owner};
  if (rest == "leader")
    return {kind::leader, owner};
  if (rest == "config")
    return {kind::config, owner};
  constexpr std::string_view members = "members/";
  if (rest.starts_with(members) && rest.size() > members.size()
      && rest.size() - members.size() <= model::longest_node_name
      && rest.find('/', members.size()) == std::string_view::npos)
    return {kind::member, owner, rest.substr(members.size())};
  return {};
}

/// Of a scope's members that no record lists so many are kept: a record may come after its members'
/// keys, as it does in each listing. Whoever has a cluster's node can write as many as etcd takes.
constexpr std::size_t most_unlisted = 100;
/// Engines' words for a member's state are shorter.
constexpr std::size_t longest_state = 100;

/// A cluster's configuration is there, and says nothing of connections.
constexpr int says_nothing = 0;

/// Nothing unless the settings say how many there may be.
std::optional<int> max_connections_in(const json::value* settings, const engine_check& engine) {
  const auto* parameters = settings != nullptr ? json::member(*settings, "parameters") : nullptr;
  if (parameters == nullptr)
    return std::nullopt;
  auto number = json::integer_member(*parameters, engine.connections_parameter);
  if (number == 0) {
    auto text = json::string_member(*parameters, engine.connections_parameter);
    std::from_chars(text.data(), text.data() + text.size(), number);
  }
  if (number < 1)
    return std::nullopt;
  return static_cast<int>(std::min<std::int64_t>(number, engine.most_connections));
}

bool is_set(const json::value& object, std::string_view name, bool otherwise = false) {
  const auto* flag = json::member(object, name);
  return flag != nullptr && flag->IsBool() ? flag->GetBool() : otherwise;
}

std::string state_of_member(std::string_view text) {
  auto parsed = json::parse(text);
  return parsed ? json::string_member(*parsed, "state").substr(0, longest_state) : std::string{};
}

} // namespace

routing_table::record routing_table::record_of(std::string_view name, std::string_view text) const {
  record known;
  auto parsed = json::parse(text);
  if (!parsed || !parsed->IsObject())
    return known;
  // The records of the seeds have neither a scope nor a phase.
  known.scope = json::string_member(*parsed, "scope", name);
  constexpr const char* accepted = model::text_of(model::record_phase::accepted);
  known.accepted = json::string_member(*parsed, "phase", accepted) == accepted;
  // Whose removal was accepted has no bindings any more, however long its nodes still take.
  if (const auto* desired = json::member(*parsed, "desired"))
    known.accepted = known.accepted && is_set(*desired, "exists", true);
  if (auto nodes = json::member(*parsed, "nodes"); nodes && nodes->IsArray())
    for (const auto& node : nodes->GetArray()) {
      auto node_id = json::string_member(node, "node_id");
      known.nodes.emplace(
          node_id, json::member(node, "address") == nullptr
                       ? std::nullopt
                       : std::optional{record::place{json::string_member(node, "address"),
                                                     json::string_member(node, "patroni_address"),
                                                     is_set(node, "patroni_certified")}});
      if (is_set(node, "held_back"))
        known.held_back.insert(node_id);
    }
  known.engine = engines_->find(json::string_member(*parsed, "engine"));
  known.accepted = known.accepted && known.engine != nullptr; // a router of before there was such
  if (known.engine != nullptr)
    known.max_connections = max_connections_in(json::member(*parsed, "in_force"), *known.engine);
  return known;
}

int routing_table::max_connections_of(const record& known, const cluster* of) {
  // While a change is being taken up a member may have what was or what comes: so the smaller one.
  const auto usual = known.engine->usual_connections;
  auto configured = of != nullptr ? of->max_connections : std::nullopt;
  if (configured == says_nothing)
    configured = usual;
  if (known.max_connections && configured)
    return std::min(*known.max_connections, *configured);
  return known.max_connections ? *known.max_connections : configured.value_or(usual);
}

std::optional<routed_member> routing_table::member_of(std::string_view name,
                                                      std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return std::nullopt;
  auto control_url = json::string_member(*parsed, "api_url");
  auto database = endpoint_of_url(json::string_member(*parsed, "conn_url"));
  auto control = endpoint_of_url(control_url);
  if (!database || !control)
    return std::nullopt;
  return routed_member{std::string{name}, *database, *control, control_url.starts_with("https:"),
                       false};
}

std::optional<routed_member> routing_table::vetted(const std::optional<routed_member>& announced,
                                                   const std::optional<record::place>& recorded) {
  if (!announced || !recorded)
    return announced;
  auto database = endpoint_of(recorded->database);
  if (!database)
    return std::nullopt; // its cell has not said yet where it is
  auto member = *announced;
  member.database = *database;
  // Its own key may say less; that is no reason to check less.
  member.is_certified = recorded->is_certified;
  member.control_has_tls = member.control_has_tls || member.is_certified;
  if (auto control = endpoint_of(recorded->control))
    member.control = *control;
  else if (member.control.host != database->host) // earlier cells do not say where a node is asked
    return std::nullopt;
  return member;
}

bool routing_table::put(std::string_view key, std::string_view value) {
  auto about = meaning_of(key);
  std::string owner{about.owner};
  if (about.is == kind::allocation || about.is == kind::read_only_allocation
      || about.is == kind::routing || about.is == kind::record || about.is == kind::leader)
    news_ = true;
  switch (about.is) {
  case kind::allocation:
  case kind::read_only_allocation: {
    auto& known = (about.is == kind::allocation ? allocations_ : read_only_allocations_)[owner];
    if (known == value)
      return false;
    known = value;
    touch(owner);
    return true;
  }
  case kind::record: {
    auto now = record_of(owner, value);
    auto& known = records_[owner];
    if (known == now)
      return false;
    auto before = std::exchange(known, std::move(now));
    instances_of_[known.scope].insert(owner);
    if (before.scope != known.scope)
      leave_scope(before.scope, owner);
    else
      forget(known.scope); // who was listed before
    note_unread(known);
    touch(owner);
    return true;
  }
  case kind::member:
    return put_member(owner, std::string{about.member}, value);
  case kind::leader: {
    auto& known = clusters_[owner].leader;
    if (known != value)
      leader_changes_.push_back(
          {owner, std::exchange(known, std::string{value}), std::string{value}});
    return false;
  }
  case kind::config: {
    auto parsed = json::parse(value);
    auto& known = clusters_[owner].max_connections;
    auto now = std::optional{says_nothing};
    if (parsed)
      for (const auto& engine : engines_->all())
        if (auto given = max_connections_in(json::member(*parsed, engine.parameters_of), engine))
          now = given;
    if (std::exchange(known, now) == now)
      return false;
    touch_scope(owner);
    return true;
  }
  case kind::router:
    return note_router(std::string{key}, value);
  case kind::authority:
    if (authority_ == value)
      return false;
    authority_ = value;
    return true;
  case kind::routing:
  case kind::other:
    return false;
  }
  return false;
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
  if (!listed) // whoever lists it looks at it then
    return false;
  news_ = true;
  if (is_elsewhere)
    touch_scope(scope);
  return is_elsewhere;
}

bool routing_table::put_read(const std::string& key, std::optional<std::string_view> value) {
  return unread_.erase(key) > 0 && value && put(key, *value);
}

void routing_table::note_unread(const record& known) {
  if (!crowded_.contains(known.scope))
    return;
  for (const auto& [node, place] : known.nodes)
    if (!is_known(known.scope, node))
      unread_.insert(store::keys::member(known.scope, node));
}

bool routing_table::erase(std::string_view key) {
  auto about = meaning_of(key);
  std::string owner{about.owner};
  const auto is_news = about.is != kind::other && about.is != kind::router
                       && (about.is != kind::member || is_listed(owner, std::string{about.member}));
  news_ = news_ || is_news;
  switch (about.is) {
  case kind::allocation:
    touch(owner);
    return allocations_.erase(owner) > 0;
  case kind::read_only_allocation:
    touch(owner);
    return read_only_allocations_.erase(owner) > 0;
  case kind::record: {
    auto known = records_.extract(owner);
    if (!known)
      return false;
    leave_scope(known.mapped().scope, owner);
    touch(owner);
    return true;
  }
  case kind::member: {
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
  case kind::leader:
    // Without a leader's key nobody else leads yet: the last one stays known.
    forget(owner);
    return false;
  case kind::router:
    return routers_.erase(std::string{key}) > 0;
  case kind::config: // a cluster's that is being removed, or another is written at once
  case kind::authority:
  case kind::routing:
  case kind::other:
    return false;
  }
  return false;
}

void routing_table::begin_listing() {
  listed_.clear();  // what a listing that was broken off has changed stays changed
  crowded_.clear(); // it tells again of all members
}

void routing_table::list(const std::string& key, std::string_view value) {
  auto about = meaning_of(key);
  if (about.is == kind::other)
    return;
  changed_by_listing_ = put(key, value) || changed_by_listing_;
  if (about.is != kind::member || is_known(std::string{about.owner}, std::string{about.member}))
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
  // Records last: a member is judged by the record that listed it.
  for (const auto& [instance, known] : records_)
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
  one.wanted =
      route{instance, scope, 0, {}, 0, known->second.engine, max_connections_of(known->second, of)};
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

bool routing_table::holds(std::uint16_t port, const claim& one) const {
  auto found = claims_.find(port);
  return found != claims_.end() && *found->second.begin() == one;
}

void routing_table::make_claim(const claim& one, std::uint16_t port,
                               std::set<std::string>& concerned) {
  auto known = claimed_.find(one);
  const auto before = known == claimed_.end() ? std::uint16_t{0} : known->second;
  if (before == port)
    return;
  auto concern = [&](const std::set<claim>& claims) {
    for (const auto& other : claims)
      if (other.instance != one.instance)
        concerned.insert(other.instance);
  };
  if (before != 0) {
    auto& claims = claims_[before];
    concern(claims);
    claims.erase(one);
    if (claims.empty())
      claims_.erase(before);
    claimed_.erase(known);
  }
  if (port != 0) {
    claimed_.emplace(one, port);
    auto& claims = claims_[port];
    claims.insert(one);
    concern(claims);
  }
}

served_instance routing_table::judged(const std::string& instance, candidate from) const {
  served_instance one;
  auto& [wanted, unplaced] = from;
  // What is no port is said even before there is a member.
  if (!wanted
      || (wanted->members.empty() && unplaced.empty()
          && port_of(allocations_.find(instance)->second)))
    return one;
  // The port that it has been given, if it can have it.
  auto port_for = [&](const std::string& text, bool is_second) -> std::uint16_t {
    auto port = port_of(text);
    if (!port) {
      one.unserved.push_back({0, instance,
                              "its allocation in etcd is no port, 1 to 65535; write "
                              "the instance's port there"});
      return 0;
    }
    if (holds(*port, {is_second, instance}))
      return *port;
    one.unserved.push_back({*port, instance,
                            fmt::format("its port is allocated to instance {} too; give one of "
                                        "them another",
                                        claims_.at(*port).begin()->instance)});
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
  // First ports depend on nobody else, second ones on who has the first, and routes on both.
  std::set<std::string> others;
  for (const auto& instance : touched_) {
    const auto& [wanted, unplaced] = candidate_for(instance);
    auto claims = wanted && (!wanted->members.empty() || !unplaced.empty());
    auto port = claims ? port_of(allocations_.find(instance)->second) : std::nullopt;
    make_claim({false, instance}, port.value_or(0), others);
  }
  touched_.merge(others);
  for (const auto& instance : touched_) {
    auto first = claimed_.find({false, instance});
    auto given = read_only_allocations_.find(instance);
    auto claims = given != read_only_allocations_.end() && first != claimed_.end()
                  && holds(first->second, first->first)
                  && !candidate_for(instance).wanted->members.empty();
    auto port = claims ? port_of(given->second) : std::nullopt;
    make_claim({true, instance}, port.value_or(0), others);
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
