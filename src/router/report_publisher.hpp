#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/router_report.hpp"
#include "store/announcer.hpp"

namespace matriarch::router {

/// Keeps this router's key in etcd, under a lease: whoever waits for all routers waits for it as long
/// as the lease lives. Belongs to the event loop's thread.
class report_publisher {
public:
  /// `id` is this router's, `host` its machine's name.
  report_publisher(store::etcd_client& etcd, std::string id, std::string host);

  /// Says it, unless it was said last. One write is under way at a time, of the last that was said.
  void say(std::int64_t serves, std::vector<std::uint16_t> unbound);

  /// Takes the key away; `gone` is called when etcd has confirmed it.
  void withdraw(std::function<void()> gone);

private:
  store::announcer announcer_;
  model::router_report report_;
  bool has_said_ = false;
};

} // namespace matriarch::router
