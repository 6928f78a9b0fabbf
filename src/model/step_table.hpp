#pragma once

#include <chrono>
#include <compare>
#include <string>

#include "model/rare.hpp"

namespace matriarch::model {

/// What an instance's actor does outside itself, and gets an answer to later.
enum class step_kind {
  add_nodes,
  start_node,  ///< each by its node
  remove_node, ///< each by its node
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
  std::string node_id = {}; ///< empty where the step is about the whole cluster
  auto operator<=>(const step_key&) const = default;
};

/// Which steps have been begun and not ended, and which are to be begun again only later. It takes
/// next to nothing while there are none.
class step_table {
public:
  using time_point = std::chrono::steady_clock::time_point;

  [[nodiscard]] bool under_way(const step_key& which) const;
  /// Whether it may begin, which it has then; not while it is under way.
  [[nodiscard]] bool begin(const step_key& which);
  void end(const step_key& which);

  /// Whether none is under way.
  [[nodiscard]] bool idle() const;

  /// It is not to be begun before; a later word replaces an earlier one.
  void put_off(const step_key& which, time_point until);
  /// Until when it was put off; the clock's beginning if it was not, or if that is forgotten.
  [[nodiscard]] time_point put_off_until(const step_key& which) const;
  /// Forgets what is over by now.
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
