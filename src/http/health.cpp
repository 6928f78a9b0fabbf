#include "http/health.hpp"

#include <set>
#include <string>
#include <utility>

#include "base/json.hpp"

namespace matriarch::http {

namespace {

void add_cells(json::document& body, const std::vector<model::cell_view>& cells) {
  json::value unreachable{rapidjson::kArrayType};
  json::value lost{rapidjson::kArrayType};
  json::value uncertified{rapidjson::kArrayType};
  for (const auto& cell : cells) {
    if (cell.lacks_certificate)
      uncertified.PushBack(json::string(cell.guid, body), body.GetAllocator());
    if (!cell.reachable)
      unreachable.PushBack(json::string(cell.guid, body), body.GetAllocator());
    if (cell.lost)
      lost.PushBack(json::string(cell.guid, body), body.GetAllocator());
  }
  json::add(body, "unreachable_cells", std::move(unreachable), body);
  json::add(body, "lost_cells", std::move(lost), body);
  json::add(body, "cells_without_certificate", std::move(uncertified), body);
}

/// Plans that some cell's nodes would not start with. Everybody may see their number; only the
/// operator sees the details.
void add_plan_faults(json::document& body, const std::vector<model::cell_view>& cells,
                     bool by_operator) {
  std::set<std::string> plans;
  json::value faults{rapidjson::kArrayType};
  for (const auto& cell : cells)
    for (const auto& one : cell.plan_faults) {
      plans.insert(one.plan_id);
      for (const auto& words : one.words) {
        json::value entry{rapidjson::kObjectType};
        json::add(entry, "cell", cell.guid, body);
        json::add(entry, "plan_id", one.plan_id, body);
        json::add(entry, "fault", words, body);
        faults.PushBack(entry, body.GetAllocator());
      }
    }
  json::add(body, "faulty_plans", static_cast<std::int64_t>(plans.size()), body);
  if (!plans.empty() && by_operator)
    json::add(body, "plan_faults", std::move(faults), body);
}

void add_routers(json::document& body, const model::routers& routers) {
  json::add(body, "routers", static_cast<std::int64_t>(routers.living.size()), body);
  json::add(body, "routing", model::words_of(routers), body);
  json::value lost_ports{rapidjson::kArrayType};
  for (const auto& [port, instance] : routers.lost_ports)
    lost_ports.PushBack(port, body.GetAllocator());
  json::add(body, "lost_ports", std::move(lost_ports), body);
  json::add(body, "silent_routers", static_cast<std::int64_t>(routers.silent()), body);
  json::add(body, "unserved_instances",
            static_cast<std::int64_t>(routers.unserved_instances().size()), body);
}

/// The number is public; which instances they are is for the operator.
void add_unwell(json::document& body, const broker_health& now, bool by_operator) {
  json::add(body, "unwell_instances", static_cast<std::int64_t>(now.unwell_instances), body);
  if (now.some_unwell.empty() || !by_operator)
    return;
  json::value some{rapidjson::kArrayType};
  for (const auto& id : now.some_unwell)
    some.PushBack(json::string(id, body), body.GetAllocator());
  json::add(body, "unwell", std::move(some), body);
}

} // namespace

response health_answer(const broker_health& now, const std::vector<model::cell_view>& cells,
                       const model::routers& routers, const health_question& asked) {
  json::document body;
  body.SetObject();
  bool well = now.etcd_reachable && !now.etcd_refuses_writes && routers.all_well();
  json::add(body, "status", !now.loaded ? "starting" : well ? "ok" : "degraded", body);
  json::add(body, "etcd",
            !now.etcd_reachable       ? "unreachable"
            : now.etcd_refuses_writes ? "refuses writes"
                                      : "reachable",
            body);
  if (now.etcd_age)
    json::add(body, "etcd_age", static_cast<std::int64_t>(now.etcd_age->count()), body);
  json::add(body, "active", now.active, body);
  if (!now.must_not_act.empty())
    json::add(body, "must_not_act", now.must_not_act, body);
  json::add(body, "instances_loaded", now.loaded, body);
  add_cells(body, cells);
  add_plan_faults(body, cells, asked.by_operator);
  if (!now.repair_halted.empty())
    json::add(body, "repair_halted", now.repair_halted, body);
  add_routers(body, routers);
  add_unwell(body, now, asked.by_operator);
  bool fit = now.loaded && (now.active || !asked.must_be_active);
  return {fit ? 200 : 503, json::text_of(body), {}};
}

} // namespace matriarch::http
