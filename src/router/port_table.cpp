#include "router/port_table.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace matriarch::router {

port_table ports_of(const route& what, const std::string& leader, const limit_settings& limits,
                    int routers) {
  wanted_port first;
  first.instance = what.instance;
  first.scope = what.scope;
  first.check = what.engine->leader;
  for (const auto& member : what.members) {
    slot_content where{member.database, member.control, member.control_has_tls,
                       member.is_certified ? member.name : ""};
    if (member.name == leader)
      first.leader = where;
    first.servers.push_back(std::move(where));
  }
  // Two members at one address are one server; its answer tells which of them it is.
  std::sort(first.servers.begin(), first.servers.end());
  first.servers.erase(std::unique(first.servers.begin(), first.servers.end()), first.servers.end());
  first.limits = limits_of(what.max_connections, 1, limits, routers);

  port_table ports;
  if (what.read_only_port != 0) {
    auto second = first;
    // A reader whose login is revoked must not reach a replica that does not know it yet. The
    // broker ends the reader's sessions there; other readers' sessions go on.
    auto is_held = [&](const slot_content& server) {
      return std::any_of(what.members.begin(), what.members.end(), [&](const auto& member) {
        return member.held_back && member.database == server.database && member.name != leader;
      });
    };
    std::copy_if(second.servers.begin(), second.servers.end(), std::back_inserter(second.held),
                 is_held);
    std::erase_if(second.servers, is_held);
    second.check = what.engine->replica;
    second.fallback = what.port;
    second.to_leader = false;
    second.limits = limits_of(what.max_connections, static_cast<int>(first.servers.size()) - 1,
                              limits, routers);
    ports.emplace(what.read_only_port, std::make_shared<const wanted_port>(std::move(second)));
  }
  ports.emplace(what.port, std::make_shared<const wanted_port>(std::move(first)));
  return ports;
}

void take_up(port_table& table, const port_table& changes) {
  for (const auto& [port, one] : changes)
    if (one != nullptr)
      table.insert_or_assign(port, one);
    else
      table.erase(port);
}

void wanted_ports::put(std::uint16_t port, std::shared_ptr<const wanted_port> one) {
  ports_of_[one->instance].push_back(port);
  auto& known = table_[port];
  if (known != nullptr && *known == *one)
    return;
  known = std::move(one);
  changed_.insert(port);
}

void wanted_ports::remove(std::uint16_t port) {
  table_.erase(port);
  changed_.insert(port);
}

void wanted_ports::set(const std::string& instance, port_table ports) {
  if (auto had = ports_of_.extract(instance))
    for (auto port : had.mapped())
      // Another instance may have got the port since.
      if (auto known = table_.find(port);
          known != table_.end() && known->second->instance == instance && !ports.contains(port))
        remove(port);
  for (auto& [port, one] : ports)
    put(port, std::move(one));
}

void wanted_ports::replace(port_table all) {
  std::vector<std::uint16_t> gone;
  for (const auto& [port, one] : table_)
    if (!all.contains(port))
      gone.push_back(port);
  for (auto port : gone)
    remove(port);
  ports_of_.clear();
  for (auto& [port, one] : all)
    put(port, std::move(one));
}

port_table wanted_ports::take_changes() {
  port_table changes;
  for (auto port : std::exchange(changed_, {})) {
    auto known = table_.find(port);
    changes.emplace(port, known == table_.end() ? nullptr : known->second);
  }
  return changes;
}

} // namespace matriarch::router
