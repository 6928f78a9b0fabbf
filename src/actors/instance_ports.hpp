#pragma once

#include <string>

#include "actors/instance_host.hpp"
#include "actors/record_keeper.hpp"
#include "model/step_table.hpp"

namespace matriarch::actors {

/// The public ports of one instance, as part of its actor: exchanges a port that some router cannot
/// open. The port of a new instance comes from instance_acceptance, the one for readers from
/// instance_bindings.
class instance_ports {
public:
  /// The references must outlive this object.
  instance_ports(record_keeper& keeper, instance_host& host,
                 model::instance_observations& observations)
      : keeper_(keeper), host_(host), observations_(observations) {}
  instance_ports(const instance_ports&) = delete;
  instance_ports& operator=(const instance_ports&) = delete;

  /// Exchanges one of this instance's public ports, which no client may know yet. The old port
  /// rests, since another router may still have it open.
  void change_port(model::endpoint which);
  void let_go(caf::actor_clock::time_point now) { steps_.let_go(now); }

private:
  void exchange_port(model::endpoint which, const port_offer& offer);
  /// The name under which the registry keeps this instance's port.
  [[nodiscard]] std::string holder_of(model::endpoint which) const;

  [[nodiscard]] const std::string& name() const { return keeper_.name(); }
  [[nodiscard]] const model::record* record() const { return keeper_.record(); }
  [[nodiscard]] const instance_setup& setup() const { return keeper_.setup(); }
  [[nodiscard]] service_instance_actor::pointer self() const { return keeper_.self(); }
  [[nodiscard]] bool is_put_off(const model::step_key& which) const {
    return self()->clock().now() < steps_.put_off_until(which);
  }
  void put_off(const model::step_key& which, caf::timespan pause) {
    steps_.put_off(which, self()->clock().now() + pause);
  }

  record_keeper& keeper_;
  instance_host& host_;
  model::instance_observations& observations_;
  model::step_table steps_; ///< the exchange, to be tried again later
};

} // namespace matriarch::actors
