#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "model/record.hpp"

namespace matriarch::actors {

/// Brings parameters that every cluster shall have to those that were made before there were such:
/// a few clusters at a time, since each costs its nodes some questions, and bindings wait for the
/// same threads.
class adoption {
public:
  /// At 10 s each, which a cluster takes to see a change, a thousand clusters take some forty minutes.
  static constexpr int most_at_once = 4;

  using parameters = std::map<std::string, std::string>;

  /// `under_way` counts for all instances, and outlives this.
  explicit adoption(std::atomic<int>& under_way) : under_way_(under_way) {}

  /// Whether the cluster lacks some of them, and nothing else is being done to it.
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

  /// The record with what it lacks; nothing while too many others are at it.
  [[nodiscard]] std::optional<model::record> begin(model::record known, const parameters& all) {
    if (!turn_) {
      if (under_way_.fetch_add(1) >= most_at_once) {
        --under_way_;
        return std::nullopt;
      }
      turn_.reset(&under_way_);
    }
    // Whatever the plan says of one of them is there already, and stays.
    known.desired.settings.parameters.insert(all);
    return known;
  }

  /// The cluster has taken them up, or something else is done to it: others may go on.
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
