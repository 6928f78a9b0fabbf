#include "world.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "engines/postgresql/cell/settings_check.hpp"
#include "engines/postgresql/model/members.hpp"
#include "model/names.hpp"
#include "store/binding_json.hpp"
#include "store/cell_json.hpp"
#include "store/keys.hpp"
#include "store/record_json.hpp"
#include "tls/authorities.hpp"
#include "tls/certificate.hpp"

namespace matriarch::simulation {

namespace {

namespace keys = store::keys;
using namespace std::chrono_literals;

// The etcd client's time-out for a transaction; after it, the result is unknown.
constexpr duration etcd_timeout = 3s;
// How much later a transaction in flight may still be done.
constexpr duration lateness = 700ms;
// Patroni's ttl, after which a stopped member's key ends.
constexpr duration member_life = 30s;

bool within(const store::key_range& keys, const std::string& key) {
  return keys.last.empty() ? key == keys.first : key >= keys.first && key < keys.last;
}

std::string header(const base::outgoing& what, const std::string& name) {
  for (const auto& [key, value] : what.headers)
    if (key == name)
      return value;
  return "";
}

/// The part of a URL between `//` and the next `/`.
std::string authority(const std::string& url) {
  auto slashes = url.find("//");
  if (slashes == url.npos)
    return "";
  auto begin = slashes + 2;
  return url.substr(begin, url.find('/', begin) - begin);
}

matriarch::cell::fencing_claim claim_of(const base::outgoing& what) {
  matriarch::cell::fencing_claim claim;
  claim.scope = header(what, "X-Matriarch-Scope");
  claim.fleet = header(what, "X-Matriarch-Fleet");
  if (auto revision = header(what, "X-Matriarch-Revision"); !revision.empty())
    claim.revision = std::stoll(revision);
  return claim;
}

std::string host(const std::string& url) {
  auto text = authority(url);
  return text.substr(0, text.find(':'));
}

/// The node that an order to the cell at `uri` is about.
std::string node_in(const std::string& url, const std::string& uri) {
  constexpr std::string_view prefix = "/v2/service_instances/";
  auto path = url.substr(uri.size());
  return path.substr(prefix.size(), path.find_first_of("?/", prefix.size()) - prefix.size());
}

bool is_about_sessions(const std::string& url) {
  return url.ends_with("/sessions");
}

/// Whether an order is about a node's key or certificate.
bool is_certification(const std::string& url) {
  return url.ends_with("/key") || url.ends_with("/certificate");
}

bool is_about_a_halt(const std::string& url) {
  return url.ends_with("/halted");
}

} // namespace

// -- etcd ----------------------------------------------------------------------------------------

bool simulated_etcd::holds(const store::compare& condition) const {
  auto found = keys_.find(condition.key);
  auto compared = [&](auto left, auto right) {
    switch (condition.how) {
    case store::compare::relation::equal:
      return left == right;
    case store::compare::relation::not_equal:
      return left != right;
    case store::compare::relation::less:
      return left < right;
    case store::compare::relation::greater:
      return left > right;
    }
    return false;
  };
  switch (condition.what) {
  case store::compare::subject::create_revision:
    return compared(found == keys_.end() ? 0 : found->second.create_revision, condition.number);
  case store::compare::subject::mod_revision:
    return compared(found == keys_.end() ? 0 : found->second.mod_revision, condition.number);
  case store::compare::subject::value:
    return found != keys_.end() && compared(found->second.value, condition.text);
  }
  return false;
}

bool simulated_etcd::has_leases_of(const std::vector<store::operation>& branch) const {
  return std::ranges::all_of(branch, [this](const store::operation& one) {
    const auto* put = std::get_if<store::put>(&one);
    return put == nullptr || put->lease == 0 || leases_.contains(put->lease);
  });
}

/// etcd refuses a transaction that puts a key twice, or puts and erases the same key.
bool simulated_etcd::has_duplicates(const std::vector<store::operation>& branch) {
  std::set<std::string> put_keys;
  for (const auto& one : branch)
    if (const auto* put = std::get_if<store::put>(&one); put && !put_keys.insert(put->key).second)
      return true;
  return std::ranges::any_of(branch, [&](const store::operation& one) {
    const auto* gone = std::get_if<store::erase>(&one);
    return gone && std::ranges::any_of(put_keys, [&](const auto& key) {
             return within(gone->keys, key);
           });
  });
}

store::commit_result simulated_etcd::commit(const store::transaction& what) {
  if (has_duplicates(what.then) || has_duplicates(what.otherwise))
    return {store::commit_state::not_done, at_, {}, "duplicate key given in txn request"};
  store::commit_result came;
  bool held = std::all_of(what.compares.begin(), what.compares.end(),
                          [this](const auto& one) { return holds(one); });
  const auto& branch = held ? what.then : what.otherwise;
  if (!has_leases_of(branch))
    return {store::commit_state::not_done, at_, {}, "requested lease not found"};
  if (std::any_of(branch.begin(), branch.end(),
                  [](const auto& one) { return !std::holds_alternative<store::read>(one); }))
    ++at_;
  for (const auto& one : branch) {
    if (const auto* put = std::get_if<store::put>(&one))
      put_now(*put);
    else if (const auto* gone = std::get_if<store::erase>(&one))
      erase_now(gone->keys);
    else
      came.reads.push_back(answer_to(std::get<store::read>(one)));
  }
  came.state = held ? store::commit_state::committed : store::commit_state::refused;
  came.at = at_;
  return came;
}

std::vector<store::key_value> simulated_etcd::range(const store::key_range& keys) const {
  std::vector<store::key_value> found;
  for (auto at = keys_.lower_bound(keys.first); at != keys_.end() && within(keys, at->first); ++at)
    found.push_back(at->second);
  return found;
}

std::vector<store::key_value> simulated_etcd::answer_to(const store::read& asked) const {
  auto found = range(asked.keys);
  if (asked.most > 0 && std::ssize(found) > asked.most)
    found.resize(static_cast<std::size_t>(asked.most));
  return found;
}

std::optional<std::string> simulated_etcd::value(const std::string& key) const {
  auto found = keys_.find(key);
  return found == keys_.end() ? std::nullopt : std::optional{found->second.value};
}

void simulated_etcd::put(const std::string& key, const std::string& value) {
  ++at_;
  put_now({key, value});
}

void simulated_etcd::erase(const std::string& key) {
  ++at_;
  erase_now({key, ""});
}

void simulated_etcd::put_now(const store::put& what) {
  auto& entry = keys_[what.key];
  if (entry.create_revision == 0)
    entry.create_revision = at_;
  entry.key = what.key;
  entry.value = what.value;
  entry.mod_revision = at_;
  entry.lease = what.lease;
  history_.push_back({store::change::kind::put, entry});
}

void simulated_etcd::erase_now(const store::key_range& keys) {
  for (auto at = keys_.lower_bound(keys.first); at != keys_.end() && within(keys, at->first);) {
    store::key_value gone;
    gone.key = at->first;
    gone.mod_revision = at_;
    history_.push_back({store::change::kind::erase, std::move(gone)});
    at = keys_.erase(at);
  }
}

store::lease_id simulated_etcd::grant(wall_time until) {
  leases_[++last_lease_] = until;
  return last_lease_;
}

bool simulated_etcd::renew(store::lease_id lease, wall_time until) {
  auto found = leases_.find(lease);
  if (found != leases_.end())
    found->second = until;
  return found != leases_.end();
}

void simulated_etcd::revoke(store::lease_id lease) {
  leases_.erase(lease);
  std::vector<std::string> held;
  for (const auto& [key, entry] : keys_)
    if (entry.lease == lease)
      held.push_back(key);
  for (const auto& key : held)
    erase(key);
}

wall_time simulated_etcd::next_end() const {
  auto next = wall_time::max();
  for (const auto& [lease, until] : leases_)
    next = std::min(next, until);
  return next;
}

void simulated_etcd::end_leases(wall_time now) {
  std::vector<store::lease_id> over;
  for (const auto& [lease, until] : leases_)
    if (until <= now)
      over.push_back(lease);
  for (auto lease : over)
    revoke(lease);
}

// -- time --------------------------------------------------------------------------------------

world::world(int cells)
    : routers(etcd, [this](duration pause, std::function<void()> what) {
        after(pause, std::move(what));
      }) {
  routers.add("r1");
  for (int i = 1; i <= cells; ++i) {
    auto number = std::to_string(i);
    cells_.push_back({"c" + number, "z" + number, "http://cell" + number + ":8080"});
  }
}

void world::pass(duration how_long) {
  if (watch_over)
    watch_over();
  routers.look();
  auto until = now_ + how_long;
  while (!later_.empty() && later_.begin()->first <= until) {
    auto next = later_.extract(later_.begin());
    now_ = std::max(now_, next.key());
    next.mapped()();
    routers.look();
  }
  now_ = until;
  etcd.end_leases(now_);
  if (watch_over)
    watch_over();
}

wall_time world::next() const {
  return later_.empty() ? etcd.next_end() : std::min(etcd.next_end(), later_.begin()->first);
}

void world::after(duration pause, std::function<void()> what) {
  later_.emplace(now_ + pause, std::move(what));
}

std::string world::new_id() {
  return "id-" + std::to_string(++last_id_);
}

// -- etcd as the brokers see it ------------------------------------------------------------------

void world::commit(const store::transaction& what,
                   std::function<void(store::commit_result)> reply) {
  if (!etcd_reachable)
    return reply({store::commit_state::not_done, 0, {}, "connection refused"});
  switch (fate_of ? fate_of(what) : fault::none) {
  case fault::none:
    return reply(commit_now(what));
  case fault::slow_answer:
    return after(etcd_timeout / 2, [reply, came = commit_now(what)] { reply(came); });
  case fault::not_done:
    return reply({store::commit_state::not_done, 0, {}, "no leader"});
  case fault::lost_answer:
    commit_now(what);
    break;
  case fault::late:
    after(etcd_timeout + lateness, [this, what] { commit_now(what); });
    break;
  case fault::lost_request:
    break;
  }
  after(etcd_timeout, [reply] { reply({store::commit_state::unknown, 0, {}, "timed out"}); });
}

store::commit_result world::commit_now(const store::transaction& what) {
  auto before = operations_in_progress(what);
  auto ended = ended_bindings(what);
  auto came = etcd.commit(what);
  if (came.state == store::commit_state::committed) {
    note_success(before);
    for (const auto& [name, one] : ended)
      expect_revoked(name, one);
  }
  if (came.state == store::commit_state::committed)
    for (const auto& one : what.then)
      if (const auto* put = std::get_if<store::put>(&one);
          put && put->key.starts_with(keys::services))
        expect_served(*put);
  routers.look();
  return came;
}

std::vector<std::pair<std::string, model::binding>>
world::ended_bindings(const store::transaction& what) const {
  std::vector<std::pair<std::string, model::binding>> found;
  for (const auto& one : what.then) {
    const auto* gone = std::get_if<store::erase>(&one);
    if (gone == nullptr || !gone->keys.last.empty()
        || !gone->keys.first.starts_with(keys::services))
      continue;
    auto name = gone->keys.first.substr(keys::services.size());
    name = name.substr(0, name.find('/'));
    auto text = etcd.value(gone->keys.first);
    if (!text || !gone->keys.first.starts_with(keys::bindings(name)))
      continue;
    if (auto read = store::decode_binding(*text, name, *keys_to_read); read.ok())
      found.emplace_back(name, *read);
  }
  return found;
}

/// No node to which clients are led may let in an ended binding's role.
void world::expect_revoked(const std::string& name, const model::binding& ended) {
  const auto& role = ended.role.username;
  auto known = record_of(name);
  if (role.empty() || !known)
    return;
  if (roles_of(known->living.scope).password_of.contains(role))
    violations.push_back("binding " + ended.binding_id
                         + " was called ended, and its role is there");
  for (const auto& node : known->living.nodes)
    if (stands_still.contains(node.node_id) && !node.held_back)
      violations.push_back("binding " + ended.binding_id + " was called ended, and node "
                           + node.node_id + ", which lets its role in, is not held back");
}

void world::expect_served(const store::put& what) {
  auto name = what.key.substr(keys::services.size());
  name = name.substr(0, name.find('/'));
  auto known = record_of(name);
  if (!known || !success_is_served)
    return;
  auto check = [&](const std::string& id, int port, const std::string& called) {
    if (!called_done_.insert(id).second)
      return;
    if (auto fault = routers.fault_at(name, port); !fault.empty())
      violations.push_back(called + " when " + fault);
  };
  if (what.key == keys::record(name)) {
    const auto& op = known->current;
    if (op.state == model::operation_state::succeeded
        && op.type != model::operation_type::deprovision)
      check(op.id, known->endpoints[model::endpoint::primary], "an operation was called succeeded");
  } else if (what.key.starts_with(keys::bindings(name))) {
    auto one = store::decode_binding(what.value, name, *keys_to_read);
    if (one.ok() && one->phase == model::binding_phase::ready)
      check(name + "/" + one->binding_id,
            one->read_only ? known->endpoints[model::endpoint::read_only]
                           : known->endpoints[model::endpoint::primary],
            "a binding was called ready");
  }
}

/// The records with an operation in progress that a transaction writes.
std::set<std::string> world::operations_in_progress(const store::transaction& what) const {
  std::set<std::string> found;
  for (const auto& one : what.then)
    if (const auto* put = std::get_if<store::put>(&one);
        put != nullptr && put->key.starts_with(keys::services) && put->key.ends_with("/state"))
      if (auto text = etcd.value(put->key))
        if (auto known = store::decode_record(*text, *keys_to_read);
            known.ok() && known->current.state == model::operation_state::in_progress)
          found.insert(put->key);
  return found;
}

/// Success must not be reported while a requested node is unhealthy.
void world::note_success(const std::set<std::string>& in_progress) {
  for (const auto& key : in_progress) {
    auto known = store::decode_record(*etcd.value(key), *keys_to_read);
    if (!known.ok() || known->current.state != model::operation_state::succeeded
        || !known->desired.exists)
      continue;
    int well = 0;
    for (const auto& n : known->living.nodes)
      if (n.phase == model::node_phase::started && is_well(known->living.scope, n.node_id))
        ++well;
    if (well < known->desired.node_count)
      violations.push_back("success was reported of " + known->instance_id + " with "
                           + std::to_string(well) + " of "
                           + std::to_string(known->desired.node_count) + " nodes healthy");
  }
}

store::range_result world::range(const store::key_range& keys) {
  if (!keys.last.empty())
    ++ranges_read;
  if (!etcd_reachable)
    return {false, 0, {}, "connection refused"};
  return {true, etcd.at(), etcd.range(keys), ""};
}

store::lease_result world::grant_lease(std::chrono::seconds ttl) {
  if (!etcd_reachable)
    return {};
  return {store::lease_result::state::held, etcd.grant(now_ + ttl), ttl};
}

store::lease_result world::keep_lease(store::lease_id lease) {
  if (!etcd_reachable)
    return {};
  // The leadership's ttl; there are no other leases.
  bool held = etcd.renew(lease, now_ + 10s);
  return {held ? store::lease_result::state::held : store::lease_result::state::gone, lease, 10s};
}

store::lease_result world::revoke_lease(store::lease_id lease) {
  if (!etcd_reachable)
    return {};
  etcd.revoke(lease);
  return {store::lease_result::state::gone, lease};
}

// -- cells ---------------------------------------------------------------------------------------

cell* world::cell_of(const std::string& url) {
  auto found =
      std::ranges::find_if(cells_, [&](const cell& one) { return url.starts_with(one.uri + "/"); });
  return found == cells_.end() ? nullptr : &*found;
}

std::optional<base::outcome> world::shake_hands(base::outgoing& what) const {
  for (const auto& one : cells_) {
    auto called = "https://" + tls::cell_host(one.guid);
    if (!one.by_tls || !what.url.starts_with(called + "/"))
      continue;
    auto refused = [&](const std::string& why) {
      return base::outcome{0, "", what.verb + " " + what.url + ": " + why, true};
    };
    auto word = store::decode_cell_word(etcd.value(keys::cell_certificate(one.guid)).value_or(""));
    if (!word || one.key.empty() || !tls::belong_together({one.key, word->certificate}))
      return refused("its certificate was signed by no authority, but by itself");
    auto trusted = tls::certificates_in(what.tls.authority_text);
    if (std::ranges::none_of(trusted, [&](const std::string& by) {
          return tls::is_signed_by(word->certificate, by);
        }))
      return refused("its certificate was signed by no authority that is trusted here");
    what.url = one.uri + what.url.substr(called.size());
    return std::nullopt;
  }
  return std::nullopt;
}

void world::announce(const std::string& guid) {
  auto& one = at(guid);
  one.key = *tls::make_key();
  etcd.put(keys::cell(guid),
           store::encode_cell_announcement({guid, one.availability_zone, one.uri, one.capacity, "",
                                            "", *tls::make_request(one.key)}));
}

bool world::is_order(const base::outgoing& what) const {
  return what.verb != "GET" && std::ranges::any_of(cells_, [&](const cell& one) {
           return what.url.starts_with(one.uri + "/") && what.url != one.uri + "/v2/postgresql";
         });
}

void world::expect_recorded(const base::outgoing& what) {
  if (is_about_sessions(what.url))
    return;
  const auto& where = *cell_of(what.url);
  auto node_id = node_in(what.url, where.uri);
  auto scope = header(what, "X-Matriarch-Scope");
  auto known = record_of(model::name_of_scope(scope));
  const auto* cluster = known ? known->cluster_of(scope) : nullptr;
  const auto* n = cluster != nullptr ? cluster->find_node(node_id) : nullptr;
  // What a broker sends that does not know yet that it acts no more, its cell refuses: see obey().
  if (is_about_a_halt(what.url))
    return;
  if (what.verb == "PUT" && (n == nullptr || n->cell != where.guid))
    violations.push_back("node " + node_id + " was started before it was recorded");
  if (what.verb == "DELETE" && n != nullptr && n->phase != model::node_phase::removing)
    violations.push_back("node " + node_id + " was removed before that was recorded");
}

void world::send(const base::outgoing& what, std::function<void(base::outcome)> reply) {
  auto* found = cell_of(what.url);
  if (found == nullptr)
    return answer_as_patroni(what, host(what.url), reply);
  auto& where = *found;
  auto path = what.url.substr(where.uri.size());
  bool about_postgresql = path == "/v2/postgresql";
  bool order = what.verb != "GET" && !about_postgresql;
  auto how = order ? where.orders : where.health;
  auto timed_out = [this, what, reply] {
    auto error = what.verb + " " + what.url + ": timed out";
    after(what.timeout, [reply, error] { reply({0, "", error, false}); });
  };
  if (how == manner::away)
    return reply({0, "", what.verb + " " + what.url + ": connection refused", true});
  if (how == manner::hanging)
    return timed_out();
  if (!order) {
    if (how == manner::failing)
      return reply({500, "{}", "", false});
    if (path == "/v2/service_instances")
      return reply(list(where));
    if (about_postgresql)
      return reply(judge(where, what.body));
    return reply(
        {200,
         "{\"status\":\"ok\",\"fencing\":\"pid-namespace\",\"postgresql\":\"" + where.version
             + "\",\"capacity\":" + std::to_string(where.capacity)
             + ",\"limits\":{\"memory\":\"cgroup\",\"processes\":\"none\",\"cpu\":\"cgroup\"}"
             + ",\"memory\":" + std::to_string(where.memory)
             + ",\"full\":" + std::to_string(where.full_nodes)
             + (where.halts && !where.foreign ? ",\"halts\":true}" : "}"),
         "", false});
  }
  auto node_id = node_in(what.url, where.uri);
  if (where.transit == 0ms && how != manner::mute) {
    reply(obey(where, what, node_id));
  } else {
    // In flight: the order arrives whatever happens to the broker, and after any time-out.
    bool silent = how == manner::mute || where.transit >= what.timeout;
    after(where.transit, [this, guid = where.guid, what, node_id, reply, silent] {
      auto came = obey(at(guid), what, node_id);
      if (!silent)
        reply(came);
    });
    if (silent)
      timed_out();
  }
  if (watch_over)
    watch_over();
}

/// A node's addresses in the cell's answers, as members of a JSON object; empty if the cell does
/// not give them.
std::string world::place_of(const cell& where, const std::string& node_id) {
  return where.silent_of_places ? ""
                                : "\"host\":\"" + node_id + "\",\"port\":5432,\"api_port\":8008";
}

base::outcome world::judge(const cell& where, const std::string& question) {
  if (where.version.empty())
    return {404, "{}", "", false};
  auto asked = matriarch::engines::postgresql::parse_plans(question);
  if (!asked)
    return {400, json::object_text({{"description", asked.error()}}), "", false};
  std::string faults;
  for (const auto& [plan, words] : where.plan_faults)
    if (asked->contains(plan))
      faults += (faults.empty() ? "\"" : ",\"") + plan + "\":[\"" + words + "\"]";
  return {200, "{\"version\":\"" + where.version + "\",\"faults\":{" + faults + "}}", "", false};
}

base::outcome world::list(const cell& where) {
  if (where.foreign)
    return {404, "{}", "", false};
  std::string nodes;
  for (const auto& [id, n] : where.nodes) {
    auto listed =
        json::object_text({{"node_id", id},
                           {"scope", n.scope},
                           {"service_id", "service"},
                           {"plan_id", n.plan_id},
                           {"host", id},
                           {"certificate", n.certificate.empty() ? "none" : n.certificate}});
    listed.insert(listed.size() - 1, ",\"port\":5432,\"api_port\":8008");
    nodes += (nodes.empty() ? "" : ",") + listed;
  }
  return {200, "{\"nodes\":[" + nodes + "]}", "", false};
}

base::outcome world::obey(cell& where, const base::outgoing& what, const std::string& node_id) {
  const base::outcome out_of_order{500, "{\"description\":\"out of order\"}", "", false};
  auto came = [&]() -> base::outcome {
    if (where.orders == manner::failing || (where.orders == manner::lying && what.verb == "DELETE"))
      return out_of_order;
    if (auto why = where.fence.refusal_of(claim_of(what)); why && fences(where))
      return {412, json::object_text({{"error", "StaleRequest"}, {"description", *why}}), "",
              false};
    if (is_about_sessions(what.url)) {
      if (auto body = json::parse(what.body); body && !where.foreign)
        for (const auto& role : json::member(*body, "roles")->GetArray())
          refused_by_cells[node_id].insert(role.GetString());
      return {where.foreign ? 404 : 200, "{}", "", false};
    }
    if (is_certification(what.url))
      return certify(where, what, node_id);
    if (is_about_a_halt(what.url)) {
      if (!where.foreign)
        where.fence.note(claim_of(what));
      expect_to_be_halted(header(what, "X-Matriarch-Scope"), node_id);
      return halt(where, node_id);
    }
    if (what.verb == "PUT") {
      auto said = start(where, what, node_id);
      return where.orders == manner::lying ? out_of_order : said;
    }
    where.fence.note(claim_of(what));
    bool was = where.nodes.contains(node_id);
    remove(where, node_id);
    return {was ? 200 : 410, "{}", "", false};
  }();
  auto verb = is_certification(what.url) || is_about_a_halt(what.url)
                  ? what.url.substr(what.url.rfind('/') + 1)
                  : what.verb;
  if (!is_about_sessions(what.url))
    orders_.push_back({verb, where.guid, node_id, now_, came.status});
  return came;
}

/// Handles PUT …/key and PUT …/certificate like an agent.
base::outcome world::certify(cell& where, const base::outgoing& what, const std::string& node_id) {
  if (where.foreign)
    return {404, "{}", "", false};
  if (where.fence.buried(node_id))
    return {410, "{}", "", false};
  if (what.url.ends_with("/key")) {
    auto key = tls::make_key();
    auto request = tls::make_request(*key);
    where.pending[node_id] = {*key, ""};
    return {200, json::object_text({{"certificate_request", *request}, {"host", node_id}}), "",
            false};
  }
  auto waiting = where.pending.find(node_id);
  auto body = json::parse(what.body);
  auto certificate = body.ok() ? json::string_member(*body, "certificate") : std::string{};
  if (waiting == where.pending.end() || !tls::belong_together({waiting->second.first, certificate}))
    return {409, "{\"description\":\"no such key\"}", "", false};
  if (auto known = where.nodes.find(node_id); known != where.nodes.end()) {
    known->second.certificate = certificate;
    where.pending.erase(waiting);
  } else {
    waiting->second.second = certificate;
  }
  return {200, "{}", "", false};
}

base::outcome world::start(cell& where, const base::outgoing& what, const std::string& node_id) {
  if (where.fence.buried(node_id) && fences(where))
    return {410, "{\"description\":\"buried\"}", "", false};
  if (where.nodes.contains(node_id)) {
    where.fence.note(claim_of(what));
    if (auto& node = where.nodes.at(node_id); std::exchange(node.halted, false))
      resume(node.scope, node_id);
    return {200, "{" + place_of(where, node_id) + "}", "", false};
  }
  if (where.orders == manner::full || static_cast<int>(where.nodes.size()) >= where.capacity)
    return {422, "{\"error\":\"CapacityExceeded\",\"description\":\"full\"}", "", false};
  auto body = json::parse(what.body);
  if (!body.ok() || json::member(*body, "parameters") == nullptr)
    return {400, "{\"description\":\"bad body\"}", "", false};
  const auto& parameters = *json::member(*body, "parameters");
  auto scope = json::string_member(parameters, "PATRONI_SCOPE");
  where.fence.note(claim_of(what));
  auto known = record_of(model::name_of_scope(scope));
  const auto* cluster = known ? known->cluster_of(scope) : nullptr;
  if (cluster == nullptr || cluster->find_node(node_id) == nullptr)
    violations.push_back("node " + node_id + " was started while in no record");
  if (nodes_of(scope).empty()) {
    auto settings = json::parse(json::string_member(parameters, "PATRONI_DYNAMIC_CONFIG"));
    if (settings.ok())
      configure(*settings, scope);
  }
  where.nodes[node_id] = {scope, json::string_member(*body, "plan_id"), configured_[scope]};
  if (auto waiting = where.pending.extract(node_id))
    where.nodes[node_id].certificate = waiting.mapped().second;
  after(member_delay, [this, scope, node_id] {
    if (!in_a_cell(node_id) || find_node(node_id)->halted)
      return;
    write_member(scope, node_id, "starting");
    after(running_delay, [this, scope, node_id] {
      if (in_a_cell(node_id))
        get_data(scope, node_id);
    });
  });
  return {201, "{" + place_of(where, node_id) + "}", "", false};
}

void world::remove(cell& where, const std::string& node_id) {
  where.fence.bury(node_id, now_.time_since_epoch().count());
  auto found = where.nodes.find(node_id);
  if (found == where.nodes.end())
    return;
  auto scope = found->second.scope;
  bool was_well = is_well(scope, node_id);
  where.nodes.erase(found);
  if (was_well)
    note_loss_of_health(scope, node_id);
  note_loss_of_old_copy(scope, node_id);
  note_loss(scope, node_id);
  if (!member_state(scope, node_id).empty()) {
    write_member(scope, node_id, "stopped");
    after(member_life, [this, scope, node_id] {
      if (member_state(scope, node_id) == "stopped")
        etcd.erase(keys::member(scope, node_id));
    });
  }
  if (leader_of(scope) == node_id) {
    etcd.erase(keys::leader(scope));
    after(failover_delay, [this, scope] { elect(scope); });
  } else {
    choose_synchronous(scope);
  }
}

/// A removal must not leave fewer healthy nodes than requested.
void world::note_loss_of_health(const std::string& scope, const std::string& node_id) {
  auto known = record_served_by(scope);
  if (known && known->desired.exists && known->living.had_leader
      && well_nodes(scope) < known->desired.node_count)
    violations.push_back("node " + node_id + " was removed while healthy, and only "
                         + std::to_string(well_nodes(scope)) + " of "
                         + std::to_string(known->desired.node_count) + " healthy nodes are left");
}

/// The nodes that served are the only other copy of the data until the new ones take writes.
void world::note_loss_of_old_copy(const std::string& scope, const std::string& node_id) {
  auto known = record_of(model::name_of_scope(scope));
  if (known && known->desired.exists && known->outgoing && known->outgoing->scope == scope
      && following_.contains(known->living.scope))
    violations.push_back("node " + node_id
                         + ", which served, was removed before the new cluster takes writes");
}

/// The data goes with the nodes: while the cluster is wanted, neither the leader nor the last copy
/// may be removed.
void world::note_loss(const std::string& scope, const std::string& node_id) {
  auto known = record_served_by(scope);
  // The data of a first provision is promised to nobody until the provision ends.
  bool first = known && known->current.type == model::operation_type::provision
               && known->current.state == model::operation_state::in_progress;
  if (known && known->desired.exists && known->desired.node_count > 0 && known->living.had_leader
      && !first) {
    if (leader_of(scope) == node_id)
      violations.push_back("node " + node_id + " was removed while it led");
    if (nodes_of(scope).empty())
      violations.push_back("node " + node_id + " was removed, the last copy of " + scope);
  }
  if (!nodes_of(scope).empty())
    return;
  roles_.erase(scope);
  configured_.erase(scope);
  synchronous_.erase(scope);
  following_.erase(scope);
  retaining_.erase(scope);
}

bool world::in_a_cell(const std::string& node) const {
  return std::any_of(cells_.begin(), cells_.end(),
                     [&](const cell& one) { return one.nodes.contains(node); });
}

void world::write_member(const std::string& scope, const std::string& node,
                         const std::string& state) {
  auto text = "{\"state\":\"" + state + "\",\"api_url\":\"http://" + node
              + ":8008/patroni\",\"conn_url\":\"postgres://" + node + ":5432/postgres\"";
  if (auto stuck = stuck_at_.find(node); state == "running")
    text += ",\"timeline\":1,\"xlog_location\":"
            + std::to_string(stuck == stuck_at_.end() ? written_of(scope) : stuck->second);
  if (leader_of(scope) == node)
    text += following_.contains(scope) ? ",\"role\":\"standby_leader\"" : ",\"role\":\"master\"";
  etcd.put(keys::member(scope, node), text + "}");
}

// -- replication ---------------------------------------------------------------------------------

std::int64_t world::written_of(const std::string& scope) const {
  auto found = written_.find(scope);
  return found == written_.end() ? wal_step : found->second;
}

void world::write_wal(const std::string& scope) {
  written_[scope] = written_of(scope) + wal_step;
  for (const auto& [node, where] : nodes_of(scope))
    if (member_state(scope, node) == "running" && !stuck_at_.contains(node))
      write_member(scope, node, "running");
}

void world::stand_still(const std::string& node_id) {
  if (const auto* node = find_node(node_id))
    stuck_at_[node_id] = written_of(node->scope);
}

void world::go_on_replicating(const std::string& node_id) {
  stuck_at_.erase(node_id);
  if (const auto* node = find_node(node_id))
    write_member(node->scope, node_id, "running");
}

bool world::is_well(const std::string& scope, const std::string& node) const {
  return member_state(scope, node) == "running"
         && (!stuck_at_.contains(node) || leader_of(scope) == node);
}

int world::well_nodes(const std::string& scope) const {
  int count = 0;
  for (const auto& [id, where] : nodes_of(scope))
    count += is_well(scope, id) ? 1 : 0;
  return count;
}

/// Only a node with the data of the cluster in `initialize` may lead.
void world::elect(const std::string& scope) {
  if (!leader_of(scope).empty())
    return;
  auto initialized = etcd.value(keys::initialize(scope));
  for (const auto& [node, where] : nodes_of(scope)) {
    const auto& identity = find_node(node)->identity;
    if (member_state(scope, node) != "running" || (initialized && *initialized != identity)
        || never_lead_.contains(node))
      continue;
    if (!initialized)
      etcd.put(keys::initialize(scope), identity);
    etcd.put(keys::leader(scope), node);
    write_member(scope, node, "running");
    for (const auto& [other, there] : nodes_of(scope))
      if (find_node(other)->identity.empty() && member_state(scope, other) == "stopped")
        after(running_delay, [this, scope, other] { get_data(scope, other); });
    return choose_synchronous(scope);
  }
}

void world::get_data(const std::string& scope, const std::string& node_id) {
  auto* node = find_node(node_id);
  if (node == nullptr || !node->identity.empty() || node->halted)
    return;
  auto initialized = etcd.value(keys::initialize(scope));
  if (initialized && leader_of(scope).empty()) {
    // The node waits for a leader to copy from.
    if (member_state(scope, node_id) != "stopped")
      write_member(scope, node_id, "stopped");
    return after(running_delay, [this, scope, node_id] { get_data(scope, node_id); });
  }
  if (following_.contains(scope) && !initialized) {
    auto source = followed_by(scope);
    if (!takes_writes(source)) {
      if (member_state(scope, node_id) != "stopped")
        write_member(scope, node_id, "stopped");
      return after(running_delay, [this, scope, node_id] { get_data(scope, node_id); });
    }
    initialized = etcd.value(keys::initialize(source)).value_or("");
    etcd.put(keys::initialize(scope), *initialized);
    roles_[scope] = roles_of(source);
    node->rows = find_node(leader_of(source))->rows;
  }
  if (const auto* leader = find_node(leader_of(scope)))
    node->rows = leader->rows;
  if (!initialized && bootstraps_lost > 0) {
    --bootstraps_lost;
    etcd.put(keys::initialize(scope), "");
    return get_data(scope, node_id);
  }
  if (!initialized) {
    initialized = std::to_string(7460000000000000000 + ++bootstraps_);
    etcd.put(keys::initialize(scope), *initialized);
    if (firsts_never_lead > 0) {
      --firsts_never_lead;
      never_lead_.insert(node_id);
    }
  }
  if (copies_hang && !leader_of(scope).empty())
    return write_member(scope, node_id, "creating replica");
  node->identity = *initialized;
  if (next_nodes_stand > 0 && !leader_of(scope).empty()) {
    --next_nodes_stand;
    stand_still(node_id);
    write_wal(scope);
  }
  run(scope, node_id);
}

bool world::starts(const std::string& scope, const std::string& node_id) const {
  auto found = configured_.find(scope);
  return found == configured_.end() || !unstartable.contains(found->second)
         || starts_by_any.contains(node_id);
}

/// Patroni gives up the leader key. The real Patroni tries again by itself, this one waits for an
/// order.
void world::fail_to_start(const std::string& scope, const std::string& node_id) {
  write_member(scope, node_id, "start failed");
  if (leader_of(scope) != node_id)
    return choose_synchronous(scope);
  etcd.erase(keys::leader(scope));
  elect(scope);
}

void world::run(const std::string& scope, const std::string& node_id) {
  if (const auto* node = find_node(node_id); node == nullptr || node->halted)
    return;
  if (!starts(scope, node_id))
    return fail_to_start(scope, node_id);
  write_member(scope, node_id, "running");
  elect(scope);
  choose_synchronous(scope);
}

// -- machines ------------------------------------------------------------------------------------

void world::lose(const std::string& guid, duration keys_last) {
  auto& gone = at(guid);
  gone.orders = gone.health = manner::away;
  excuse_unreplicated_rows(gone);
  after(keys_last, [this, guid] {
    if (at(guid).health != manner::away)
      return; // the cell came back in time
    std::set<std::string> scopes;
    for (const auto& [node, what] : at(guid).nodes) {
      etcd.erase(keys::member(what.scope, node));
      if (leader_of(what.scope) == node)
        etcd.erase(keys::leader(what.scope));
      scopes.insert(what.scope);
    }
    for (const auto& scope : scopes)
      elect(scope);
  });
}

void world::bring_back(const std::string& guid) {
  auto& back = at(guid);
  back.orders = back.health = manner::well;
  for (const auto& [node, what] : back.nodes) {
    if (what.halted)
      continue;
    auto initialized = etcd.value(keys::initialize(what.scope));
    if (what.identity.empty()) {
      write_member(what.scope, node, "starting");
      get_data(what.scope, node);
    } else if (!initialized || *initialized == what.identity) {
      run(what.scope, node);
    } // the data is another cluster's, so Patroni ends
  }
}

// -- Patroni's REST API --------------------------------------------------------------------------

cell_node* world::find_node(const std::string& node_id) {
  for (auto& one : cells_)
    if (auto found = one.nodes.find(node_id); found != one.nodes.end())
      return &found->second;
  return nullptr;
}

void world::answer_as_patroni(const base::outgoing& what, const std::string& node_id,
                              const std::function<void(base::outcome)>& reply) {
  const auto* node = find_node(node_id);
  if (node == nullptr)
    return reply({0, "", "connection refused", true});
  if (node->halted)
    return reply({0, "", "connection refused", true});
  if (what.verb == "GET")
    return reply({200,
                  std::string{"{\"state\":\"running\",\"pending_restart\":"}
                      + (node->pending_restart ? "true" : "false")
                      + ",\"xlog\":{\"replayed_location\":" + std::to_string(wal_step + node->rows)
                      + "}}",
                  "", false});
  auto body = json::parse(what.body);
  if (!body.ok())
    return reply({400, "bad body", "", false});
  auto scope = node->scope;
  if (what.url.ends_with("/config")) {
    configure(*body, scope);
    reply({200, "{}", "", false});
  } else if (what.url.ends_with("/restart")) {
    restart_node(node_id, scope, what.body, reply);
  } else if (what.url.ends_with("/reinitialize")) {
    copies_hang = false;
    after(running_delay, [this, scope, node_id] { get_data(scope, node_id); });
    reply({200, "reinitialize started", "", false});
  } else {
    switch_over(*body, scope, reply);
  }
}

void world::configure(const json::value& patch, const std::string& scope) {
  if (const auto* whom = json::member(patch, "standby_cluster");
      whom != nullptr && whom->IsObject())
    following_.insert(scope);
  else if (whom != nullptr)
    stand_for_itself(scope);
  if (const auto* slots = json::member(patch, "slots"); slots != nullptr && slots->IsObject())
    for (const auto& slot : slots->GetObject()) {
      if (slot.value.IsNull())
        retaining_.erase(scope);
      else
        retaining_.insert(scope);
    }
  if (json::member(patch, "postgresql") == nullptr)
    return;
  if (const auto* flag = json::member(patch, "synchronous_mode"); flag != nullptr && flag->IsTrue())
    synchronous_.insert(scope);
  else
    synchronous_.erase(scope);
  const auto& parameters = *json::member(*json::member(patch, "postgresql"), "parameters");
  auto digest = json::string_member(parameters, model::settings_mark);
  configured_[scope] = digest;
  after(settings_delay, [this, scope, digest] {
    for (const auto& [id, where] : nodes_of(scope)) {
      auto& node = *find_node(id);
      if (node.digest == digest || configured_[scope] != digest || missed_settings.contains(id))
        continue;
      node.digest = digest;
      node.pending_restart = settings_need_restart;
    }
    choose_synchronous(scope);
  });
}

void world::restart_node(const std::string& node_id, const std::string& scope,
                         const std::string& conditions,
                         const std::function<void(base::outcome)>& reply) {
  const auto* restarted = find_node(node_id);
  bool waits = restarted != nullptr && restarted->pending_restart;
  if ((conditions.find("restart_pending") != std::string::npos && !waits)
      || (conditions.find("replica") != std::string::npos && leader_of(scope) == node_id))
    return reply({503, "restart conditions are not satisfied", "", false});
  restarts_.push_back({node_id, leader_of(scope) == node_id});
  auto known = record_served_by(scope);
  bool runs = member_state(scope, node_id) == "running";
  if (runs && known && known->current.state == model::operation_state::in_progress
      && well_nodes(scope) < known->desired.node_count)
    violations.push_back("node " + node_id + " was restarted while another was unhealthy");
  write_member(scope, node_id, "restarting");
  after(restart_delay, [this, node_id, scope, reply] {
    auto* node = find_node(node_id);
    if (node == nullptr)
      return;
    if (!starts(scope, node_id)) {
      fail_to_start(scope, node_id);
      return reply({503, "restart failed", "", false});
    }
    node->pending_restart = false;
    missed_settings.erase(node_id);
    node->digest = configured_[scope];
    write_member(scope, node_id, "running");
    elect(scope);
    choose_synchronous(scope);
    reply({200, "restarted successfully", "", false});
  });
}

/// For a synchronous cluster Patroni chooses one replica for which the leader waits.
void world::choose_synchronous(const std::string& scope) {
  auto leader = leader_of(scope);
  std::string chosen;
  if (synchronous_.contains(scope) && !leader.empty())
    for (const auto& [id, where] : nodes_of(scope))
      if (id != leader && member_state(scope, id) == "running" && chosen.empty())
        chosen = id;
  auto value = "{\"leader\":\"" + leader + "\",\"sync_standby\":\"" + chosen + "\"}";
  if (chosen.empty())
    value = "{}";
  if (synchronous_.contains(scope) && etcd.value(keys::sync(scope)) != value)
    etcd.put(keys::sync(scope), value);
}

void world::switch_over(const json::value& body, const std::string& scope,
                        const std::function<void(base::outcome)>& reply) {
  if (!switchover_failure.empty())
    return reply({503, switchover_failure, "", false});
  auto from = json::string_member(body, "leader");
  auto to = json::string_member(body, "candidate");
  after(switchover_delay, [this, scope, from, to, reply] {
    if (leader_of(scope) != from || member_state(scope, to) != "running")
      return reply({412, "leader or candidate is not what was said", "", false});
    auto synchronous =
        engines::postgresql::standbys_in(etcd.value(keys::sync(scope)).value_or("{}"));
    if (synchronous_.contains(scope) && !synchronous.contains(to))
      return reply({412, "candidate name does not match with sync_standby", "", false});
    ++switchovers_;
    find_node(to)->rows = find_node(from)->rows; // it has streamed everything
    etcd.put(keys::leader(scope), to);
    if (auto* node = find_node(from)) // it has stopped and starts again as a replica
      node->pending_restart = false;
    if (find_node(from) != nullptr && !starts(scope, from))
      fail_to_start(scope, from);
    choose_synchronous(scope);
    reply({200, "Successfully switched over", "", false});
  });
}

// -- PostgreSQL ----------------------------------------------------------------------------------

result<role_changes> world::compare_roles(const std::string& conn_url, const roles& wanted) const {
  ++times_asked_for_roles;
  auto scope = scope_led_at(conn_url);
  if (!scope.ok())
    return failure{scope.error()};
  auto there = roles_of(*scope).password_of;
  role_changes changes;
  changes.owner_logs_in = wanted.owner_logs_in;
  for (const auto& [name, password] : there)
    if (!wanted.password_of.contains(name) && !wanted.later.contains(name)
        && (!wanted.revoked || wanted.revoked->contains(name)))
      changes.refused.insert(name);
  for (const auto& [name, password] : wanted.password_of)
    (there.contains(name) ? changes.altered : changes.created)[name] = password;
  for (const auto& name : wanted.readers)
    if (!there.contains(name))
      changes.readers.insert(name);
  return changes;
}

result<roles_made> world::change_roles(const std::string& conn_url, const role_changes& what) {
  auto scope = scope_led_at(conn_url);
  if (!scope.ok())
    return failure{scope.error()};
  auto next = roles_of(*scope);
  next.owner_logs_in = what.owner_logs_in;
  for (const auto& name : what.refused)
    if (next.password_of.contains(name))
      next.refused.insert(name);
  if (!what.readers.empty() && !readable_.contains(*scope))
    violations.push_back("a reader of " + *scope + " is made before its rights are complete");
  for (const auto& [name, password] : what.created)
    if (!next.password_of.emplace(name, password).second)
      return failure{"role " + name + " already exists"};
  for (const auto& [name, password] : what.altered) {
    auto found = next.password_of.find(name);
    if (found == next.password_of.end())
      return failure{"role " + name + " does not exist"};
    found->second = password;
    next.refused.erase(name);
  }
  roles_made made{replicas_that_replay, {}, next.refused};
  for (const auto& one : cells_)
    for (const auto& [id, node] : one.nodes)
      if (node.scope == *scope && !stands_still.contains(id))
        made.caught_up.insert(id);
  roles_[*scope] = std::move(next);
  return made;
}

result<std::set<std::string>> world::drop_roles(const std::string& conn_url,
                                                const std::set<std::string>& names) {
  auto scope = scope_led_at(conn_url);
  if (!scope.ok())
    return failure{scope.error()};
  if (!lingering.empty())
    return names;
  auto& there = roles_[*scope];
  for (const auto& name : names) {
    if (there.password_of.contains(name) && !there.refused.contains(name))
      violations.push_back("role " + name + " was removed before its login was refused");
    there.refused.erase(name);
    there.password_of.erase(name);
  }
  return std::set<std::string>{};
}

std::string world::as_its_member_says(const std::string& url) const {
  auto node = host(url);
  for (const auto& entry : etcd.range(store::keys_below(keys::services))) {
    if (!entry.key.ends_with("/members/" + node))
      continue;
    auto said = json::parse(entry.value);
    auto there = said ? host(json::string_member(*said, "conn_url")) : std::string{};
    if (there.empty())
      return url;
    auto changed = url;
    return changed.replace(changed.find(node), node.size(), there);
  }
  return url;
}

void world::note_connection(const std::string& url) {
  if (host(url) == stranger)
    violations.push_back("there was a connection to " + url + ", which no cell has registered");
}

void world::lie(const std::string& scope) {
  std::string evil = stranger;
  for (const auto& [node, cell] : nodes_of(scope))
    etcd.put(keys::member(scope, node), "{\"state\":\"running\",\"api_url\":\"http://" + evil
                                            + ":8008/patroni\",\"conn_url\":\"postgres://" + evil
                                            + ":5432/postgres\"}");
}

result<bool> world::keep_rights(const std::string& conn_url, bool readers) {
  auto scope = scope_led_at(conn_url);
  if (!scope.ok())
    return failure{scope.error()};
  if (!rights_failure.empty())
    return failure{rights_failure};
  if (rights_left > 0)
    return --rights_left < 0;
  if (readers) {
    ++comparisons_of_readers;
    readable_.insert(*scope);
  }
  return true;
}

result<std::string> world::scope_led_at(const std::string& conn_url) const {
  if (!database_failure.empty())
    return failure{database_failure};
  auto id = host(conn_url);
  for (const auto& one : cells_)
    if (auto found = one.nodes.find(id);
        found != one.nodes.end() && leader_of(found->second.scope) == id)
      return following_.contains(found->second.scope)
                 ? result<std::string>{failure{"cannot execute in a read-only transaction"}}
                 : found->second.scope;
  return failure{"no leader there"};
}

roles world::roles_of(const std::string& scope) const {
  auto found = roles_.find(scope);
  return found == roles_.end() ? roles{} : found->second;
}

result<std::string> world::settings_at(const std::string& conn_url) const {
  auto id = host(conn_url);
  for (const auto& one : cells_)
    if (auto found = one.nodes.find(id); found != one.nodes.end())
      return found->second.digest;
  return failure{"no node there"};
}

void world::admit_user(const std::string& username, const std::string& password) {
  etcd_users_[username] = password;
}

void world::dismiss_user(const std::string& username) {
  etcd_users_.erase(username);
}

result<std::map<std::string, std::int64_t>> world::lag_at(const std::string& conn_url,
                                                          bool standing) const {
  auto node = host(conn_url);
  for (const auto& one : cells_) {
    auto found = one.nodes.find(node);
    if (found == one.nodes.end() || leader_of(found->second.scope) != node)
      continue;
    std::map<std::string, std::int64_t> behind;
    for (const auto& [other, where] : nodes_of(found->second.scope))
      if (other != node && member_state(found->second.scope, other) == "running"
          && (standing || !stuck_at_.contains(other)))
        behind[other] = lag;
    for (const auto& scope : followers_of(found->second.scope))
      if (auto other = leader_of(scope); runs(scope, other) && !stuck_at_.contains(other))
        behind[other] = lag;
    return behind;
  }
  return failure{"no leader there"};
}

// -- what a test may look at ---------------------------------------------------------------------

cell& world::at(const std::string& guid) {
  return *std::find_if(cells_.begin(), cells_.end(),
                       [&](const cell& one) { return one.guid == guid; });
}

std::map<std::string, std::string> world::nodes_of(const std::string& scope) const {
  std::map<std::string, std::string> found;
  for (const auto& one : cells_)
    for (const auto& [id, n] : one.nodes)
      if (n.scope == scope)
        found[id] = one.guid;
  return found;
}

std::size_t world::node_count() const {
  std::size_t count = 0;
  for (const auto& one : cells_)
    count += one.nodes.size();
  return count;
}

int world::running_nodes(const std::string& scope) const {
  int count = 0;
  for (const auto& [id, where] : nodes_of(scope))
    count += member_state(scope, id) == "running" ? 1 : 0;
  return count;
}

std::string world::leader_of(const std::string& scope) const {
  return etcd.value(keys::leader(scope)).value_or("");
}

std::string world::member_state(const std::string& scope, const std::string& node) const {
  auto text = etcd.value(keys::member(scope, node));
  auto known = text ? engines::postgresql::member_in(*text) : result<model::member>{failure{""}};
  return known.ok() ? known->state : "";
}

std::optional<model::record> world::record_of(const std::string& name) const {
  auto text = etcd.value(keys::record(name));
  if (!text)
    return std::nullopt;
  auto known = store::decode_record(*text, *keys_to_read);
  return known.ok() ? std::optional{*known} : std::nullopt;
}

std::vector<order> world::orders(const std::string& verb) const {
  std::vector<order> found;
  std::copy_if(orders_.begin(), orders_.end(), std::back_inserter(found),
               [&](const order& one) { return one.verb == verb; });
  return found;
}

} // namespace matriarch::simulation
