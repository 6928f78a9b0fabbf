#include "actors/instance_ports.hpp"

#include <spdlog/spdlog.h>

#include <utility>

#include "store/keys.hpp"
#include "store/port_json.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

constexpr caf::timespan exchange_patience = 10s; // the registry answers from memory
// Pause between requests for a port while none is free.
constexpr caf::timespan exchange_retry_pause = 2s;

} // namespace

void instance_ports::change_port(model::endpoint which) {
  if (keeper_.busy())
    return;
  if (is_put_off({model::step_kind::change_port}))
    return host_.wake(steps_.put_off_until({model::step_kind::change_port})
                      - self()->clock().now());
  keeper_.hold(true);
  auto holder = holder_of(which);
  auto done = [this, which, holder](const port_offer& offer) {
    keeper_.hold(false);
    observations_.no_other_port = offer.why;
    put_off({model::step_kind::change_port}, exchange_retry_pause);
    if (offer.port != 0 && record() && keeper_.acts())
      return exchange_port(which, offer);
    self()->send(setup().ports, port_settled{holder, false}); // the offer may still arrive late
    host_.go_on();
  };
  self()
      ->request(setup().ports, exchange_patience, port_order{holder})
      .then([done](const port_offer& offer) { done(offer); },
            [done](const caf::error&) {
              done({0, 0, 0, "no port could be reserved in time"});
            });
}

std::string instance_ports::holder_of(model::endpoint which) const {
  return which == model::endpoint::read_only ? keys::read_only_holder(name()) : name();
}

void instance_ports::exchange_port(model::endpoint which, const port_offer& offer) {
  auto next = *record();
  auto before = std::exchange(next.endpoints[which], offer.port);
  auto holder = holder_of(which);
  auto port_key = keys::port(offer.port);
  keeper_.write(
      std::move(next),
      {offer.at == 0 ? store::absent(port_key) : store::unchanged_since(port_key, offer.at)},
      {store::put{port_key, store::encode_port_use({name(), std::nullopt, 0})},
       store::put{which == model::endpoint::read_only ? keys::read_only_allocation(name())
                                                      : keys::allocation(name()),
                  std::to_string(offer.port)},
       store::put{keys::next_port, std::to_string(offer.next)},
       store::put{keys::port(before), store::encode_port_use({name(), setup().outside.now(), 0})}},
      [this, holder, before, port = offer.port](const write_result& came) {
        self()->send(setup().ports, port_settled{holder, came.done()});
        if (came.done())
          host_.tell(model::port_exchanged{before, port});
        else
          spdlog::warn("instance {}: its port is not exchanged yet: {}", name(), came.why);
      });
}

} // namespace matriarch::actors
