#include "actors/singletons.hpp"

#include <future>
#include <utility>

#include "actors/authority_keeper.hpp"
#include "actors/cell_directory.hpp"
#include "actors/etcd_pulse.hpp"
#include "actors/etcd_watcher.hpp"
#include "actors/http.hpp"
#include "actors/instance_directory.hpp"
#include "actors/leadership.hpp"
#include "actors/port_registry.hpp"
#include "actors/router_directory.hpp"
#include "actors/store.hpp"

namespace matriarch::actors {

singletons::singletons(caf::actor_system& system, singleton_setup setup,
                       std::function<void(std::string)> died)
    : system_(system), setup_(std::move(setup)),
      died_(std::make_shared<const std::function<void(std::string)>>(std::move(died))) {
  const auto active = store::encode_active(setup_.self);
  const auto& outside = setup_.outside;
  auto* out = setup_.out;
  store_ = watched("store", spawn_store(system_, *setup_.etcd));
  http_ = watched("http", spawn_http(system_, *setup_.loop));
  for (const auto* one : setup_.engines) {
    const auto& decisions = one->decisions();
    auto name = std::string{decisions.name()};
    engines_.push_back({&decisions,
                        watched(name, one->spawn(system_, {http_, &out->status, outside})),
                        decisions.defaults()});
  }
  ports_ = watched("ports", spawn_port_registry(system_, setup_.ports, outside, *out));
  routers_ =
      watched("routers", spawn_router_directory(system_, {outside, setup_.wait_for_routers, out}));
  authority_ =
      watched("authority",
              spawn_authority_keeper(system_, {store_, outside, active, setup_.keys, out,
                                               setup_.operators_authority,
                                               [engines = setup_.engines](const std::string& who) {
                                                 for (const auto* one : engines)
                                                   one->trust(who);
                                               }}));
  cells_ =
      watched("cells", spawn_cell_directory(system_, {setup_.cells, http_, store_, outside, active,
                                                      setup_.repair, out, setup_.public_host,
                                                      authority_, setup_.plans}));
  directory_ =
      watched("instances",
              spawn_instance_directory(system_, {store_, engines_in_use{engines_}, ports_, cells_,
                                                 routers_, outside, out, active, setup_.keys,
                                                 setup_.etcd_users, setup_.tell}));
  gateway_ = std::make_unique<gateway>(system_, directory_, cells_, *out);
  watch("gateway", gateway_->worker());
}

singletons::~singletons() {
  stop_watching();
  for (const auto& [name, one] : all_)
    caf::anon_send_exit(one, caf::exit_reason::user_shutdown);
}

void singletons::begin() {
  leadership_ =
      watched("leadership", spawn_leadership(system_, {store_, directory_, setup_.self,
                                                       setup_.outside.new_id(), setup_.out, true}));
  pulse_ = watched("pulse", spawn_etcd_pulse(system_, {store_, store::encode_active(setup_.self),
                                                       setup_.outside, &setup_.out->status}));
  watcher_ = start_etcd_watcher(*setup_.watched_etcd, {directory_, ports_, cells_, routers_,
                                                       leadership_, gateway_.get(), authority_});
}

void singletons::resign(caf::timespan patience) {
  if (!leadership_)
    return;
  caf::scoped_actor here{system_};
  here->request(leadership_, patience, stop_atom::value)
      .receive([](bool) {}, [](const caf::error&) {});
}

void singletons::stop_watching() {
  if (!watcher_)
    return;
  // The watcher ends on the loop's own thread, so that none of its calls is under way.
  std::promise<void> ended;
  setup_.watching_loop->post([&] {
    watcher_.reset();
    ended.set_value();
  });
  ended.get_future().wait();
}

template <class Handle>
Handle singletons::watched(const std::string& name, Handle handle) {
  watch(name, caf::actor_cast<caf::actor>(handle));
  return handle;
}

void singletons::watch(const std::string& name, const caf::actor& one) {
  all_.emplace(name, one);
  one->attach_functor([name, died = died_, system = &system_](const caf::error& why) {
    if (why != caf::exit_reason::user_shutdown)
      (*died)("the actor \"" + name + "\" ended, and the broker cannot work without it: "
              + (why ? system->render(why) : "by itself"));
  });
}

} // namespace matriarch::actors
