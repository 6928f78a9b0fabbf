#include "cli/front_desk.hpp"

#include <utility>

namespace matriarch::cli {

model::snapshot_ptr front_desk::find(const std::string& name) const {
  return published_.instances.find(name);
}

std::vector<model::snapshot_ptr> front_desk::all() const {
  return published_.instances.all();
}

model::cell_table front_desk::cells() const {
  return published_.status.cells.load();
}

model::router_table front_desk::routers() const {
  return published_.status.routers.load();
}

std::shared_ptr<const std::vector<model::orphan>> front_desk::orphans() const {
  return published_.status.orphans.load();
}

http::broker_health front_desk::health() const {
  const auto& now = published_.status;
  http::broker_health how{now.etcd_reachable, now.active, now.loaded, now.etcd_refuses_writes};
  how.repair_halted = *now.repair_halted.load();
  how.must_not_act = *now.must_not_act.load();
  // Enough for a start; service-status has all of them.
  constexpr std::size_t most_told = 20;
  auto unwell = published_.instances.unwell(most_told);
  how.unwell_instances = unwell.count;
  how.some_unwell = std::move(unwell.some);
  if (auto heard = now.etcd_heard.load(); heard != actors::status_board::steady_time{})
    how.etcd_age =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - heard);
  return how;
}

std::string front_desk::authority() const {
  auto known = published_.status.authority.load();
  // Includes an authority that is being replaced: nodes may show its certificates for some more
  // seconds.
  return known ? known->trusted(outside_.now()) : std::string{};
}

void front_desk::ask(model::request what, std::chrono::milliseconds patience,
                     receiver<model::verdict> answer) {
  edge_.ask(std::move(what), patience, std::move(answer));
}

void front_desk::demote(model::demote_request what, receiver<model::demote_report> answer) {
  edge_.ask(std::move(what), std::move(answer));
}

void front_desk::forget(model::forget_request what, receiver<model::forget_report> answer) {
  edge_.ask(std::move(what), std::move(answer));
}

void front_desk::remove_orphan(model::orphan_removal what, receiver<model::verdict> answer) {
  edge_.ask(std::move(what), std::move(answer));
}

void front_desk::reencrypt_all(receiver<model::reencryption_report> answer) {
  edge_.reencrypt_all(std::move(answer));
}

} // namespace matriarch::cli
