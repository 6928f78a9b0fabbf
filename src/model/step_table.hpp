#pragma once

#include <chrono>
#include <compare>
#include <string>

#include "model/rare.hpp"

namespace matriarch::model {

/// The kinds of steps that an instance's actor takes outside itself and gets an answer to later.
enum class step_kind {
  add_nodes,
  start_node,  ///< one for each node
  remove_node, ///< one for each node
  ask_lag,
  failover_from,
  configure,
  ask_settings, ///< each by its node; without one: of any node
  restart_node, ///< each by its node
  copy_again,   ///< each by its node
  halt_node,    ///< each by its node
  resume_node,  ///< each by its node
  ask_position, ///< each by its node
  follow,
  retain,
  flush,
  forget_cluster,
  change_port,
  etcd_user, ///< made before the first node starts, deleted at the end
};

struct step_key {
  step_kind kind;
  std::string node_id = {}; ///< empty if the step concerns the whole cluster
  auto operator<=>(const step_key&) const = default;
};

/// The steps that are in progress, and the steps that must not begin before some time. Takes almost
/// no memory while empty.
class step_table {
public:
  using time_point = std::chrono::steady_clock::time_point;

  [[nodiscard]] bool under_way(const step_key& which) const;
  /// Begins the step; false if it is in progress already.
  [[nodiscard]] bool begin(const step_key& which);
  void end(const step_key& which);

  /// Whether no step is in progress.
  [[nodiscard]] bool idle() const;

  /// The step must not begin before `until`; a later call replaces an earlier one.
  void put_off(const step_key& which, time_point until);
  /// The time that put_off() set; the clock's epoch if it was not called or is forgotten.
  [[nodiscard]] time_point put_off_until(const step_key& which) const;
  /// Forgets steps that are over and whose time has come.
  void let_go(time_point now);

  [[nodiscard]] std::size_t size() const { return steps_.size(); }

private:
  struct state {
    bool under_way = false;
    time_point not_before = {};
  };
  rare_map<step_key, state> steps_;
};

} // namespace matriarch::model
