#include "router/report_publisher.hpp"

#include <utility>

#include "store/keys.hpp"
#include "store/router_json.hpp"

namespace matriarch::router {

report_publisher::report_publisher(store::etcd_client& etcd, std::string id, std::string host)
    : announcer_(etcd, "this router") {
  report_.id = std::move(id);
  report_.host = std::move(host);
}

void report_publisher::say(std::int64_t serves, std::vector<std::uint16_t> unbound) {
  auto now = report_;
  now.serves = serves;
  now.unbound = std::move(unbound);
  if (has_said_ && now == report_)
    return;
  report_ = std::move(now);
  announcer_.put(store::keys::router(report_.id), store::encode_router_report(report_));
  if (!std::exchange(has_said_, true))
    announcer_.start();
}

void report_publisher::withdraw(std::function<void()> gone) {
  if (!has_said_)
    return gone();
  announcer_.remove(store::keys::router(report_.id), std::move(gone));
}

} // namespace matriarch::router
