#include "routers.hpp"

#include <algorithm>

#include "store/keys.hpp"
#include "store/record_json.hpp"
#include "store/router_json.hpp"
#include "world.hpp"

namespace matriarch::simulation {

namespace {

namespace keys = store::keys;

/// Whether a change matters to a router. Member keys change every few seconds because of their
/// positions, which routers do not read.
bool is_routed(const store::key_value& changed) {
  const auto& key = changed.key;
  if (key.starts_with(keys::allocations) || key.starts_with(keys::read_only_allocations))
    return true;
  if (!key.starts_with(keys::services))
    return false;
  if (key.find("/members/") != std::string::npos)
    return changed.create_revision == changed.mod_revision;
  return key.ends_with("/state") || key.ends_with("/leader");
}

} // namespace

void routers::add(const std::string& id, model::duration pause) {
  all_[id] = router{id, pause};
}

router& routers::at(const std::string& id) {
  return all_.at(id);
}

void routers::end_lease(const router& one) {
  after_(lease, [this, id = one.id, life = one.life] {
    if (all_.at(id).life == life && etcd_.contains(keys::router(id)))
      etcd_.erase(keys::router(id));
  });
}

void routers::stand_still(const std::string& id) {
  auto& one = at(id);
  one.still = true;
  one.busy = false;
  ++one.life;
  end_lease(one);
}

void routers::go_on(const std::string& id) {
  auto& one = at(id);
  one.still = one.has_read = one.busy = false;
  ++one.life;
  look();
}

void routers::kill(const std::string& id) {
  auto& one = at(id);
  one.runs = one.busy = false;
  one.routes.clear();
  ++one.life;
  end_lease(one);
}

void routers::start(const std::string& id) {
  auto& one = at(id);
  one.runs = true;
  one.has_read = one.busy = false;
  ++one.life;
  look();
}

void routers::look() {
  for (auto& [id, one] : all_)
    if (one.runs && !one.still && !one.busy)
      begin(one);
}

void routers::begin(router& one) {
  const auto& history = etcd_.history();
  bool changed = !one.has_read;
  for (; one.read < history.size(); ++one.read)
    changed = changed || is_routed(history[one.read].entry);
  if (!changed)
    return;
  one.busy = true;
  after_(one.pause, [this, id = one.id, life = one.life] {
    if (auto& then = all_.at(id); then.life == life)
      serve(then);
  });
}

void routers::serve(router& one) {
  one.busy = false;
  one.has_read = true;
  one.read = etcd_.history().size();
  one.routes = routes_in_etcd();
  model::router_report said{one.id, "host-of-" + one.id, etcd_.at(), {}};
  for (int port : one.taken) {
    bool wanted = std::ranges::any_of(one.routes, [&](const auto& route) {
      return route.second.port == port || route.second.read_only_port == port;
    });
    if (wanted || one.looks_ahead)
      said.unbound.push_back(static_cast<std::uint16_t>(port));
  }
  for (const auto& name : one.lacks)
    if (one.routes.erase(name) > 0)
      said.unserved.push_back({name, "its node has no address on host-of-" + one.id});
  etcd_.put(keys::router(one.id), store::encode_router_report(said));
}

std::map<std::string, served_route> routers::routes_in_etcd() const {
  std::map<std::string, served_route> all;
  for (const auto& entry : etcd_.range(store::keys_below(keys::allocations))) {
    auto name = entry.key.substr(keys::allocations.size());
    auto text = etcd_.value(keys::record(name));
    auto known = text ? store::decode_record(*text, *keys) : result<model::record>{failure{"none"}};
    if (!known.ok() || known->phase != model::record_phase::accepted)
      continue;
    auto leader = etcd_.value(keys::leader(known->living.scope));
    auto second = etcd_.value(keys::read_only_allocation(name));
    all[name] = {std::stoi(entry.value), second ? std::stoi(*second) : 0, leader.value_or("")};
  }
  return all;
}

std::string routers::fault_at(const std::string& name, int port) const {
  auto wanted = routes_in_etcd()[name];
  int living = 0;
  for (const auto& [id, one] : all_) {
    if (!etcd_.contains(keys::router(id)))
      continue;
    ++living;
    auto found = one.routes.find(name);
    if (found == one.routes.end()
        || (found->second.port != port && found->second.read_only_port != port))
      return "router " + id + " does not serve port " + std::to_string(port) + " of " + name;
    if (one.taken.contains(port))
      return "router " + id + " cannot open port " + std::to_string(port) + " of " + name;
    if (found->second.leader != wanted.leader)
      return "router " + id + " does not lead to the leader of " + name;
  }
  return living > 0 ? "" : "no router serves " + name;
}

} // namespace matriarch::simulation
