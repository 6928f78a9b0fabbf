#pragma once

#include <optional>
#include <string>

#include "cell/drivers/cgroups.hpp"
#include "cell/drivers/process.hpp"
#include "cell/node_driver.hpp"

namespace matriarch::cell {

/// Runs nodes as processes of this machine, each in namespaces of its own where that works.
class process_driver final : public node_driver {
public:
  /// `data_dir`: a program with a directory of its own sees nothing else below this. `groups`: the
  /// control groups in which the kernel enforces limits; without them each process is limited by
  /// rlimits, as far as these go.
  process_driver(system_user user, fencing how, std::string data_dir,
                 std::optional<cgroup_tree> groups = std::nullopt);

  [[nodiscard]] driver_capabilities can() const override;
  [[nodiscard]] const system_user& user() const override { return user_; }

  [[nodiscard]] node_walls walls_of(const node_place& which) const override;
  void start(const node_place& which, const program& what, const record_function& record,
             std::function<void(result<node_run>)> then) override;
  void adopt(const node_place& which, std::function<void(node_life)> then) override;
  void alive(const node_place& which, std::function<void(node_life)> then) override;
  void stop(const node_place& which) override;
  void kill(const node_place& which) override;
  void reload(const node_place& which) override;
  void destroy(const node_place& which, std::function<void(std::size_t left)> then) override;
  [[nodiscard]] std::vector<pid_t> processes_of(const node_place& which) const override;

  [[nodiscard]] result<base::process_identity> run(const program& what) override;
  [[nodiscard]] std::optional<std::string> end_of(const base::process_identity& process) override;

private:
  [[nodiscard]] launch launch_of(const program& what) const;
  [[nodiscard]] bool has_group(const node_place& which) const;
  static void signal(const node_place& which, int number);

  system_user user_;
  fencing how_;
  bool counts_by_itself_;
  std::string data_dir_;
  std::optional<cgroup_tree> groups_;
};

} // namespace matriarch::cell
