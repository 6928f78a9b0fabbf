#include "invariants.hpp"

#include <algorithm>
#include <utility>

#include "model/names.hpp"
#include "requests.hpp"
#include "store/binding_json.hpp"
#include "store/cell_json.hpp"
#include "store/keys.hpp"
#include "store/port_json.hpp"
#include "store/record_json.hpp"
#include "tls/authorities.hpp"

namespace matriarch::simulation {

namespace {

namespace keys = store::keys;

class inspection {
public:
  inspection(const world& outside, const std::map<std::string, expectation>& expected)
      : outside_(outside), expected_(expected) {}

  std::vector<std::string> run() {
    broken_ = outside_.violations;
    for (const auto& [name, wanted] : expected_)
      inspect(name, wanted);
    inspect_cells();
    inspect_certificates();
    inspect_keys();
    inspect_ports();
    inspect_users();
    inspect_past();
    return std::move(broken_);
  }

private:
  void expect(bool holds, const std::string& otherwise) {
    if (!holds)
      broken_.push_back(otherwise);
  }

  // -- an instance --------------------------------------------------------------------------------

  void inspect(const std::string& name, const expectation& wanted) {
    auto known = outside_.record_of(name);
    if (!known)
      return expect(false, name + " has no record");
    using model::operation_state;
    expect(known->phase == model::record_phase::accepted && known->desired.exists,
           name + " is not accepted");
    expect(known->current.state != operation_state::in_progress,
           "the operation of " + name + " has not ended");
    expect(wanted.failed == (known->current.state == operation_state::failed),
           "the operation of " + name + " ended otherwise: " + known->current.description);
    expect(known->living.switching_to.empty(), name + " is still switching over");
    expect(!known->is_being_rebuilt() && !known->incoming && !known->outgoing
               && known->living.follows.empty(),
           name + " is still being rebuilt");
    expect(!outside_.retains(known->living.scope),
           "the leader of " + name + " keeps data for nobody");
    expect(!wanted.rebuilt || (known->rebuilt && known->rebuilt->succeeded == *wanted.rebuilt),
           name + " was rebuilt although it could not be, or was not");
    inspect_nodes(*known, wanted);
    inspect_settings(*known, wanted);
    inspect_bindings(*known, wanted);
  }

  void inspect_nodes(const model::record& known, const expectation& wanted) {
    const auto& name = known.instance_id;
    expect(known.desired.node_count == wanted.nodes
               && static_cast<int>(known.living.nodes.size()) == wanted.nodes
               && outside_.well_nodes(known.living.scope) == wanted.nodes,
           name + " has " + std::to_string(outside_.well_nodes(known.living.scope))
               + " healthy nodes of " + std::to_string(known.living.nodes.size()) + " recorded and "
               + std::to_string(wanted.nodes) + " wanted");
    for (const auto& n : known.living.nodes) {
      expect(n.phase == model::node_phase::started,
             "node " + n.node_id + " is not recorded as started");
      expect(!n.halted, "node " + n.node_id + " is recorded as stopped");
      expect(!n.held_back, "node " + n.node_id + " is held back and has every revocation");
      expect(wanted.cells.empty() || std::ranges::find(wanted.cells, n.cell) != wanted.cells.end(),
             "node " + n.node_id + " is on cell " + n.cell + ", which was not requested");
    }
    expect(known.living.find_node(outside_.leader_of(known.living.scope)) != nullptr,
           name + " has no leader");
  }

  void inspect_settings(const model::record& known, const expectation& wanted) {
    expect(known.desired.settings == wanted.settings && known.living.in_force == wanted.settings
               && !known.living.taking_up,
           known.instance_id + " has not applied its settings");
    auto digest = model::digest_of(wanted.settings);
    for (const auto& n : known.living.nodes) {
      auto has = outside_.settings_at("postgres://" + n.node_id + ":5432/postgres");
      expect(has.ok() && (*has == digest || has->empty()),
             "node " + n.node_id + " has other settings than its record");
    }
  }

  static std::string names_in(const std::map<std::string, std::string>& roles) {
    std::string text;
    for (const auto& [name, password] : roles)
      text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "(none)" : text;
  }

  void inspect_bindings(const model::record& known, const expectation& wanted) {
    const auto name = model::name_of(known.instance_id);
    std::set<std::string> recorded;
    std::map<std::string, std::string> passwords;
    for (const auto& entry : outside_.etcd.range(store::keys_below(keys::bindings(name)))) {
      auto one = store::decode_binding(entry.value, name, *outside_.keys_to_read);
      expect(one.ok() && one->phase == model::binding_phase::ready, entry.key + " is not ready");
      if (!one.ok())
        continue;
      recorded.insert(one->binding_id);
      passwords[one->role.username] = one->role.password;
    }
    expect(recorded == wanted.bindings, known.instance_id + " has other bindings than requested");
    const auto made = outside_.roles_of(known.living.scope).password_of;
    expect(made == passwords, known.instance_id + " has the roles " + names_in(made)
                                  + " for the bindings' " + names_in(passwords));
  }

  // -- everything ---------------------------------------------------------------------------------

  void inspect_cells() {
    std::map<std::string, std::string> recorded;
    for (const auto& [name, wanted] : expected_)
      for (const auto& n : recorded_nodes(outside_, name))
        recorded[n.node_id] = n.cell;
    for (const auto& one : outside_.cells())
      for (const auto& [id, node] : one.nodes) {
        auto found = recorded.find(id);
        expect(found != recorded.end() && found->second == one.guid,
               "node " + id + " runs on cell " + one.guid + " and is in no record");
      }
  }

  /// Each cell that has asked for a certificate has one for its present key that names this cell;
  /// and each earlier certificate answered the announcement of its time.
  void inspect_certificates() {
    std::map<std::string, std::string> announced;
    for (const auto& change : outside_.etcd.history())
      for (const auto& one : outside_.cells()) {
        const auto& [key, value] = std::pair{change.entry.key, change.entry.value};
        if (key == keys::cell(one.guid))
          announced[one.guid] = store::decode_cell_announcement(value).certificate_request;
        else if (auto word = store::decode_cell_word(value);
                 key == keys::cell_certificate(one.guid) && word)
          expect(tls::answers(word->certificate, announced[one.guid]),
                 "cell " + one.guid + " got a certificate for a key that it did not announce then");
      }
    for (const auto& one : outside_.cells()) {
      if (one.key.empty())
        continue;
      auto word = store::decode_cell_word(
          outside_.etcd.value(keys::cell_certificate(one.guid)).value_or(""));
      expect(word && tls::belong_together({one.key, word->certificate}),
             "cell " + one.guid + " has no certificate for its key");
      if (word)
        for (const auto& other : outside_.cells())
          expect(tls::describe(word->certificate)->hosts.contains(tls::cell_host(other.guid))
                     == (other.guid == one.guid),
                 "the certificate of cell " + one.guid + " names another");
    }
  }

  /// Each key belongs to an existing record, or is one of those that stay.
  void inspect_keys() {
    for (const auto& entry : outside_.etcd.range(store::keys_below("/"))) {
      const auto& key = entry.key;
      if (key.starts_with(keys::services))
        expect(belongs_to_a_record(key), key + " is left behind");
      else if (key.starts_with(keys::allocations))
        expect(expected_.contains(key.substr(keys::allocations.size())), key + " is left behind");
      else if (key.starts_with(keys::read_only_allocations))
        expect(expected_.contains(key.substr(keys::read_only_allocations.size())),
               key + " is left behind");
      else if (key.starts_with(keys::tombstones))
        expect(!expected_.contains(key.substr(keys::tombstones.size())),
               key + " exists beside its instance");
      else
        expect(key.starts_with(keys::routers) || key.starts_with(keys::cells)
                   || key == keys::authority || key == keys::active || key == keys::fleet
                   || key == keys::shown_fleet || key == keys::format || key == keys::next_port
                   || key == keys::shown_authority || key.starts_with(keys::ports)
                   || key.starts_with(keys::graves),
               key + " belongs to nothing");
    }
  }

  bool belongs_to_a_record(const std::string& key) {
    return std::ranges::any_of(expected_, [&](const auto& one) {
      const auto& name = one.first;
      auto known = outside_.record_of(name);
      const auto scope = known ? known->living.scope : name;
      auto members = keys::members(scope);
      if (key.starts_with(members))
        return known && known->living.find_node(key.substr(members.size())) != nullptr;
      bool nodes_own = key.starts_with(keys::everything_of(scope));
      bool own = key == keys::record(name) || key.starts_with(keys::bindings(name));
      return nodes_own || own;
    });
  }

  void inspect_ports() {
    std::map<int, std::string> held;
    for (const auto& [name, wanted] : expected_) {
      auto known = outside_.record_of(name);
      if (!known)
        continue;
      for (int port : {known->endpoints[model::endpoint::primary],
                       known->endpoints[model::endpoint::read_only]})
        if (port != 0)
          expect(held.emplace(port, name).second, "two instances have one port");
      expect(outside_.etcd.value(keys::allocation(name))
                 == std::to_string(known->endpoints[model::endpoint::primary]),
             "the allocation of " + name + " is not its port");
    }
    for (const auto& entry : outside_.etcd.range(store::keys_below(keys::ports))) {
      auto port = std::stoi(entry.key.substr(keys::ports.size()));
      auto use = store::decode_port_use(entry.value, entry.mod_revision);
      if (!use.ok() || use->resting_since)
        continue;
      expect(held.contains(port) && held[port] == use->name, entry.key + " is held by nobody");
      held.erase(port);
    }
    expect(held.empty(), "a record has a port that is not its own");
  }

  void inspect_users() {
    std::map<std::string, std::string> wanted;
    for (const auto& [name, one] : expected_)
      if (auto known = outside_.record_of(name);
          known && !known->living.secret_of(model::secret_name::etcd).username.empty())
        wanted[known->living.secret_of(model::secret_name::etcd).username] =
            known->living.secret_of(model::secret_name::etcd).password;
    expect(outside_.etcd_users() == wanted, "etcd has other users than there are scopes");
  }

  /// No port went from one instance to another without resting, and each node that was ever in a
  /// record is still in it or has a grave.
  void inspect_past() {
    std::map<std::string, std::string> holder; // by port key
    std::set<std::pair<std::string, std::string>> ever;
    for (const auto& change : outside_.etcd.history()) {
      const auto& key = change.entry.key;
      bool erased = change.what == store::change::kind::erase;
      if (key.starts_with(keys::ports)) {
        auto use = store::decode_port_use(change.entry.value, 0);
        if (!erased && use.ok() && !use->resting_since && !holder[key].empty())
          expect(holder[key] == use->name, key + " was given away while it was held");
        holder[key] = erased || !use.ok() || use->resting_since ? "" : use->name;
      } else if (!erased && key.starts_with(keys::services) && key.ends_with("/state")) {
        auto known = store::decode_record(change.entry.value, *outside_.keys_to_read);
        if (known.ok())
          for (const auto* cluster : std::as_const(*known).clusters())
            for (const auto& n : cluster->nodes)
              ever.emplace(n.cell, n.node_id);
      }
    }
    for (const auto& [name, wanted] : expected_)
      for (const auto& n : recorded_nodes(outside_, name))
        ever.erase({n.cell, n.node_id});
    for (const auto& [cell, node] : ever)
      expect(outside_.etcd.contains(keys::grave(cell, node)), "node " + node + " has no grave");
  }

  const world& outside_;
  const std::map<std::string, expectation>& expected_;
  std::vector<std::string> broken_;
};

} // namespace

std::vector<std::string> broken_rules(const world& outside,
                                      const std::map<std::string, expectation>& expected) {
  return inspection{outside, expected}.run();
}

} // namespace matriarch::simulation
