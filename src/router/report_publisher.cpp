#include "router/report_publisher.hpp"

#include <unistd.h>

#include <array>
#include <utility>

#include <fmt/format.h>

#include "store/keys.hpp"
#include "store/router_json.hpp"

namespace matriarch::router {

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::string id_of(const router_config& config, int status_port) {
  return config.id.empty() ? fmt::format("{}:{}", host_name(), status_port) : config.id;
}

report_publisher::report_publisher(store::etcd_client& etcd, model::router_report self,
                                   std::function<void(std::string)> taken)
    : announcer_(etcd, "this router"), report_(std::move(self)) {
  announcer_.only_with(key_of(report_), std::move(taken));
}

store::owned_key report_publisher::key_of(const model::router_report& self) {
  return {store::keys::router(self.id),
          [self](const std::string& value) -> std::optional<std::string> {
            auto there = store::decode_router_report(value);
            if (!there.ok() || there->owner.empty() || there->owner == self.owner)
              return std::nullopt;
            return "the router id " + self.id + " is taken: a router on the machine " + there->host
                   + " has it in etcd; give each router an id of its own, in router.id (what has"
                     " ended leaves its id within 10 s)";
          }};
}

void report_publisher::say(model::router_report now) {
  now.id = report_.id;
  now.host = report_.host;
  now.owner = report_.owner;
  now.addresses = report_.addresses;
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
