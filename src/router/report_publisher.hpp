#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/router_report.hpp"
#include "router/router_config.hpp"
#include "store/announcer.hpp"

namespace matriarch::router {

/// Of this machine.
[[nodiscard]] std::string host_name();

/// Under which the router is known to others, with its status at that port.
[[nodiscard]] std::string id_of(const router_config& config, int status_port);

/// Keeps this router's key in etcd, under a lease: whoever waits for all routers waits for it as long
/// as the lease lives. Belongs to the event loop's thread.
class report_publisher {
public:
  /// Whose key it is, and its machine's name; of the report, `id`, `host` and `owner` count. `taken`
  /// is called, with who has it in words, when another router has the same id; nothing is said then.
  report_publisher(store::etcd_client& etcd, model::router_report self,
                   std::function<void(std::string)> taken);

  /// Says it, unless it was said last. One write is under way at a time, of the last that was said.
  /// Of the report, all but whose it is counts.
  void say(model::router_report now);

  /// Takes the key away; `gone` is called when etcd has confirmed it.
  void withdraw(std::function<void()> gone);

  /// The key of a router, which is its own.
  [[nodiscard]] static store::owned_key key_of(const model::router_report& self);

private:
  store::announcer announcer_;
  model::router_report report_;
  bool has_said_ = false;
};

} // namespace matriarch::router
