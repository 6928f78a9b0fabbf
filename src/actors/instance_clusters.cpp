#include "actors/instance_clusters.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "store/etcd_access.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;

// How often a retired cluster's steps are checked for being answered: nobody waits for them.
constexpr caf::timespan retired_pause = 1s;

} // namespace

std::vector<cluster_part*> instance_clusters::parts() const {
  std::vector<cluster_part*> all;
  for (const auto* one : {&living_, &incoming_, &outgoing_})
    if (*one)
      all.push_back(one->get());
  return all;
}

cluster_part* instance_clusters::part_of(const std::string& scope) const {
  for (auto* one : parts())
    if (one->watch.scope() == scope)
      return one;
  return nullptr;
}

model::cluster_observations& instance_clusters::observations_of(const cluster_part& part) const {
  return &part == incoming_.get()   ? *observations_.incoming
         : &part == outgoing_.get() ? *observations_.outgoing
                                    : observations_.living;
}

// -- with the record ------------------------------------------------------------------------------

void instance_clusters::arrange() {
  const auto* record = keeper_.record();
  std::vector<std::pair<std::unique_ptr<cluster_part>, model::cluster_observations>> before;
  auto stays = [](const auto& part, const model::cluster* one) {
    return one == nullptr ? !part : part && part->watch.scope() == one->scope;
  };
  const auto* incoming = record->incoming ? &*record->incoming : nullptr;
  const auto* outgoing = record->outgoing ? &*record->outgoing : nullptr;
  if (stays(living_, &record->living) && stays(incoming_, incoming) && stays(outgoing_, outgoing))
    return;
  for (auto* one : {&living_, &incoming_, &outgoing_})
    if (*one) {
      auto& of = observations_of(**one);
      before.emplace_back(nullptr, std::exchange(of, {}));
      before.back().first = std::move(*one);
    }
  observations_.incoming = incoming == nullptr ? model::rare_value<model::cluster_observations>{}
                                               : model::cluster_observations{};
  observations_.outgoing = outgoing == nullptr ? model::rare_value<model::cluster_observations>{}
                                               : model::cluster_observations{};
  auto put = [&](std::unique_ptr<cluster_part>& part, const model::cluster& one,
                 model::cluster_observations& there) {
    auto found = std::ranges::find_if(
        before, [&](const auto& it) { return it.first && it.first->watch.scope() == one.scope; });
    if (found == before.end()) {
      part = std::make_unique<cluster_part>(keeper_, host_, one.scope, there);
      return;
    }
    part = std::move(found->first);
    there = std::move(found->second);
    part->move_to(there);
  };
  put(living_, record->living, observations_.living);
  if (incoming != nullptr)
    put(incoming_, *incoming, *observations_.incoming);
  if (outgoing != nullptr)
    put(outgoing_, *outgoing, *observations_.outgoing);
  for (auto& [part, here] : before)
    if (part)
      retire(std::move(part), here);
}

/// Keeps a part whose steps may still be answered.
void instance_clusters::retire(std::unique_ptr<cluster_part> part,
                               model::cluster_observations& of) {
  if (part->turn_asked)
    keeper_.self()->send(keeper_.setup().cells, turn_over{part->watch.scope()});
  auto kept = std::make_unique<model::cluster_observations>(std::exchange(of, {}));
  part->move_to(*kept);
  retired_.push_back({std::move(kept), std::move(part)});
  host_.wake(retired_pause);
}

void instance_clusters::retire_all() {
  for (auto* one : {&living_, &incoming_, &outgoing_})
    if (*one) {
      auto& of = observations_of(**one);
      retire(std::move(*one), of);
    }
}

void instance_clusters::let_retired_go() {
  std::erase_if(retired_, [](const auto& one) { return one.part->steps.idle(); });
  if (!retired_.empty())
    host_.wake(retired_pause);
}

void instance_clusters::forget(const model::forget_cluster& step) {
  auto* part = part_of(step.scope);
  if (keeper_.busy() || part == nullptr || !part->steps.is_dismissed())
    return;
  auto next = *keeper_.record();
  for (auto* one : {&next.incoming, &next.outgoing})
    if (*one && (*one)->scope == step.scope)
      one->reset();
  std::vector<store::operation> gone;
  for (auto& range : store::written_by_nodes(step.scope))
    gone.push_back(store::erase{std::move(range)});
  keeper_.write(std::move(next), {}, std::move(gone), [this, step](const write_result& came) {
    if (!came.done())
      spdlog::warn("instance {}: cluster {} is not forgotten yet: {}", keeper_.name(), step.scope,
                   came.why);
  });
}

// -- the cell directory ---------------------------------------------------------------------------

cells_in_use::places instance_clusters::places() const {
  cells_in_use::places all;
  for (const auto* part : parts())
    if (const auto* cluster = part->watch.cluster())
      for (const auto& n : cluster->nodes)
        all.push_back(
            {n.node_id,
             n.cell,
             part->watch.here().seen.members.contains(n.node_id),
             {n.address.value_or(""), n.control_address, n.certified, n.control_certified}});
  return all;
}

void instance_clusters::report_cells() {
  reported_ = std::make_shared<const cells_in_use::places>(places());
  keeper_.self()->send(keeper_.setup().cells, cells_in_use{keeper_.name(), reported_});
}

void instance_clusters::report_changed_cells() {
  if (!reported_ || places() != *reported_)
    report_cells();
}

void instance_clusters::ask_for_turn(cluster_part& part, bool wanted) {
  if (wanted == part.turn_asked)
    return;
  part.turn_asked = wanted;
  if (wanted) {
    keeper_.self()->send(keeper_.setup().cells,
                         turn_wanted{part.watch.scope(), part.watch.leader_was_lost()});
  } else {
    observations_of(part).repair_turn = false;
    keeper_.self()->send(keeper_.setup().cells, turn_over{part.watch.scope()});
  }
}

void instance_clusters::give_turn(const std::string& scope) {
  if (auto* part = part_of(scope))
    observations_of(*part).repair_turn = part->turn_asked;
}

void instance_clusters::forget_turn(cluster_part& part) {
  part.turn_asked = observations_of(part).repair_turn = false;
}

} // namespace matriarch::actors
