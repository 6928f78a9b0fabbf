#include "router/status.hpp"

#include "base/json.hpp"
#include "base/times.hpp"

namespace matriarch::router {

std::pair<int, std::string> page_of(const router_status& now) {
  json::document body;
  body.SetObject();
  auto takes_connections = now.has_haproxy && now.silent.empty();
  auto all_served =
      takes_connections && now.error.empty() && now.etcd_reachable && now.unserved.empty();
  json::add(body, "status", all_served ? "ok" : takes_connections ? "degraded" : "down", body);
  json::add(body, "id", now.id, body);
  json::add(body, "routes", now.routes, body);
  json::add(body, "read_only_routes", now.read_only_routes, body);
  json::value left(rapidjson::kArrayType);
  for (const auto& one : now.unserved) {
    json::value entry(rapidjson::kObjectType);
    json::add(entry, "port", one.port, body);
    json::add(entry, "instance", one.instance, body);
    json::add(entry, "reason", one.reason, body);
    left.PushBack(entry, body.GetAllocator());
  }
  json::add(body, "left_out", std::move(left), body);
  json::value closed(rapidjson::kArrayType);
  for (int port : now.unbound)
    closed.PushBack(port, body.GetAllocator());
  json::add(body, "unbound", std::move(closed), body);
  json::add(body, "serves", now.serves, body);
  json::add(body, "routers", now.routers, body);
  json::add(body, "reloads", now.reloads, body);
  json::add(body, "old_workers", std::int64_t{now.old_workers}, body);
  json::add(body, "etcd", now.etcd_reachable ? "reachable" : "unreachable", body);
  if (!now.etcd_reachable && now.has_haproxy && now.routes_as_of)
    json::add(body, "routes_as_of", base::text_of(*now.routes_as_of), body);
  json::add(body, "haproxy",
            !now.has_haproxy     ? "not running"
            : now.silent.empty() ? "running"
                                 : "does not answer",
            body);
  if (!now.error.empty())
    json::add(body, "error", now.error, body);
  return {takes_connections ? 200 : 503, json::text_of(body)};
}

} // namespace matriarch::router
