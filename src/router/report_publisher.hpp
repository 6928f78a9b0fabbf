#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/router_report.hpp"
#include "router/router_config.hpp"
#include "store/announcer.hpp"

namespace matriarch::router {

/// The name of this machine.
[[nodiscard]] std::string host_name();

/// The router's id, by default made from the machine's name and the status port.
[[nodiscard]] std::string id_of(const router_config& config, int status_port);

/// Keeps this router's key in etcd, under a lease: those who wait for all routers wait for this one
/// as long as its lease lives. Belongs to the event loop's thread.
class report_publisher {
public:
  /// Of `self` only `id`, `host` and `owner` count. If another router has the same id, `taken` is
  /// called with the reason in words, and nothing is written then.
  report_publisher(store::etcd_client& etcd, model::router_report self,
                   std::function<void(std::string)> taken);

  /// Writes the report, unless it is the one that was written last. One write is under way at a
  /// time, always of the latest report. `id`, `host` and `owner` of `now` are ignored.
  void say(model::router_report now);

  /// Removes the key; `gone` is called when etcd has confirmed it.
  void withdraw(std::function<void()> gone);

  /// The key of that router.
  [[nodiscard]] static store::owned_key key_of(const model::router_report& self);

private:
  store::announcer announcer_;
  model::router_report report_;
  bool has_said_ = false;
};

} // namespace matriarch::router
