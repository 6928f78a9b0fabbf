#include "router/placed_routes.hpp"

#include <memory>
#include <utility>

#include <fmt/format.h>

namespace matriarch::router {

void placed_routes::start(base::event_loop& loop, std::function<void()> changed) {
  addresses_ = std::make_unique<host_addresses>(
      loop, [this, changed = std::move(changed)](const std::string& host) {
        for (const auto& instance : std::exchange(instances_at_[host], {}))
          place(instance);
        changed();
      });
}

void placed_routes::stop() {
  if (addresses_) // a router whose start was refused has none
    addresses_->stop();
}

void placed_routes::place_all(int routers) {
  sharing_ = routers;
  left_out_.clear();
  instances_at_.clear();
  port_table all;
  for (const auto& [instance, one] : table_.instances())
    all.merge(ports_of_instance(instance));
  wanted_.replace(std::move(all));
}

void placed_routes::place(const std::string& instance) {
  left_out_.erase(instance);
  wanted_.set(instance, ports_of_instance(instance));
}

void placed_routes::place_left_out() {
  for (const auto& [instance, lost] : std::map{left_out_})
    place(instance);
}

void placed_routes::look_at_names() {
  for (const auto& [host, instances] : instances_at_)
    (void)addresses_->of(host);
}

std::vector<left_out> placed_routes::left_out() const {
  std::vector<router::left_out> all;
  for (const auto& [instance, lost] : left_out_)
    all.insert(all.end(), lost.begin(), lost.end());
  return all;
}

/// Notes as left out what of the instance cannot be served.
port_table placed_routes::ports_of_instance(const std::string& instance) {
  const auto& one = table_.of(instance);
  auto lost = one.unserved;
  auto ports = one.served ? ports_of_route(*one.served, lost) : ports_that_stay(instance, one.stay);
  if (!lost.empty())
    left_out_.insert_or_assign(instance, std::move(lost));
  return ports;
}

/// The instance's present ports. Ports of an earlier run have no owner yet: they become this
/// instance's.
port_table placed_routes::ports_that_stay(const std::string& instance,
                                          const std::vector<std::uint16_t>& ports) const {
  port_table found;
  for (auto port : ports)
    if (auto known = wanted_.table().find(port); known != wanted_.table().end()) {
      const auto& owner = known->second->instance;
      if (owner == instance)
        found.insert(*known);
      if (!owner.empty())
        continue;
      auto now = *known->second;
      now.instance = instance;
      found.emplace(port, std::make_shared<const wanted_port>(std::move(now)));
    }
  return found;
}

/// `lost` gets the nodes whose hosts have no address.
port_table placed_routes::ports_of_route(const route& one, std::vector<router::left_out>& lost) {
  auto address_of = [&](const std::string& host) {
    if (is_name(host))
      instances_at_[host].insert(one.instance);
    return addresses_->of(host);
  };
  auto placed = one;
  std::erase_if(placed.members, [&](routed_member& member) {
    auto database = address_of(member.database.host);
    auto control = address_of(member.control.host);
    if (!database || !control) {
      lost.push_back({one.port, one.instance,
                      fmt::format("the host of its node {} has no address; see its cell's "
                                  "configuration and this machine's resolver",
                                  member.name)});
      return true;
    }
    member.database.host = *database;
    member.control.host = *control;
    return false;
  });
  return ports_of(placed, table_.leader(one.scope), limits_, sharing_);
}

} // namespace matriarch::router
