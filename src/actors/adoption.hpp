#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "model/record.hpp"

namespace matriarch::actors {

/// Sets late parameters (model::engine::defaults()) on clusters that were made before those
/// parameters existed. A few clusters at a time: each change costs questions to the cluster's
/// nodes, and bindings need the same threads.
class adoption {
public:
  /// A cluster takes about 10 s to apply a change, so a thousand clusters take about forty minutes.
  static constexpr int most_at_once = 4;

  using parameters = std::map<std::string, std::string>;

  /// `under_way` counts the adoptions of all instances. It must outlive this object.
  explicit adoption(std::atomic<int>& under_way) : under_way_(under_way) {}

  /// Whether the cluster lacks some of the parameters and no other change is under way.
  [[nodiscard]] static bool is_due(const model::record& known, const parameters& all) {
    if (known.phase != model::record_phase::accepted || !known.desired.exists
        || !known.living.had_leader || known.current.state == model::operation_state::in_progress
        || !known.current.failing_because.empty() || known.living.taking_up)
      return false;
    for (const auto& [name, text] : all)
      if (!known.desired.settings.parameters.contains(name))
        return true;
    return false;
  }

  /// The record with the missing parameters added; nothing while too many other clusters are at it.
  [[nodiscard]] std::optional<model::record> begin(model::record known, const parameters& all) {
    if (!turn_) {
      if (under_way_.fetch_add(1) >= most_at_once) {
        --under_way_;
        return std::nullopt;
      }
      turn_.reset(&under_way_);
    }
    // insert() keeps values that are already set, for example by the plan.
    known.desired.settings.parameters.insert(all);
    return known;
  }

  /// Frees this cluster's place for others once the cluster has applied the parameters or another
  /// change has begun.
  void end_if_over(const model::record& known, const parameters& all) {
    if (turn_ && !is_due(known, all) && !known.living.taking_up
        && same_configuration(known.living.in_force, known.desired.settings))
      turn_.reset();
  }

private:
  struct give_back {
    void operator()(std::atomic<int>* count) const { --*count; }
  };

  std::atomic<int>& under_way_;
  std::unique_ptr<std::atomic<int>, give_back> turn_;
};

} // namespace matriarch::actors
