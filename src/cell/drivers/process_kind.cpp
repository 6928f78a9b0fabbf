#include "cell/drivers/process_kind.hpp"

#include <fstream>
#include <memory>
#include <optional>
#include <sstream>

#include <spdlog/spdlog.h>

#include "cell/cell_config.hpp"
#include "cell/drivers/cgroups.hpp"
#include "cell/drivers/process.hpp"
#include "cell/drivers/process_driver.hpp"

namespace matriarch::cell {

namespace {

/// Where the kernel keeps nodes within their limits, if it can here.
std::optional<cgroup_tree> groups_of(const cell_config& config, const system_user& user) {
  auto text = [](const char* path) {
    std::ostringstream all;
    all << std::ifstream{path}.rdbuf();
    return all.str();
  };
  auto where = place_of_cgroups(text("/proc/self/mounts"), text("/proc/self/cgroup"));
  auto tree = where ? cgroup_tree::open(*where, config.guid, user)
                    : result<cgroup_tree>{failure{where.error()}};
  if (tree)
    return *tree;
  spdlog::warn(
      "plans' limits are not kept by control groups, for {}; /healthz says how each one is",
      tree.error());
  return std::nullopt;
}

class kind_of_processes final : public driver_kind {
public:
  [[nodiscard]] std::unique_ptr<node_driver> make(const cell_config& config,
                                                  const system_user& user) const override {
    auto how = strongest_fencing();
    if (how == fencing::none)
      spdlog::warn(
          "nodes run without namespaces, for neither root nor user namespaces are available: "
          "a node whose first process is killed can leave others behind until it is restarted, and "
          "a "
          "database's superuser can read the files of other nodes");
    return std::make_unique<process_driver>(user, how, config.data_dir, groups_of(config, user));
  }
  [[nodiscard]] std::unique_ptr<node_driver>
  make_for_questions(const cell_config& config, const system_user& user) const override {
    return std::make_unique<process_driver>(user, strongest_fencing(), config.data_dir);
  }
};

} // namespace

const driver_kind& process_kind() {
  static const kind_of_processes only;
  return only;
}

} // namespace matriarch::cell
