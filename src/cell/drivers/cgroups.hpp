#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "cell/system_user.hpp"
#include "model/node_limits.hpp"

/// Groups of processes that the kernel keeps within limits (control groups, version 2). Each node has
///
///     <tree>/<node>/keeper   its first process, which looks after the others and is not limited: it has
///                            to survive them
///     <tree>/<node>/limited  all that it starts, which joins by itself
namespace matriarch::cell {

/// Where this machine has its control groups, as far as that can be known without trying.
struct cgroup_place {
  std::string mounted_at; ///< of the hierarchy
  std::string own;        ///< this program's group, an absolute path in the hierarchy
};

/// From /proc/self/mounts and /proc/self/cgroup; the failure says in words why there are none.
[[nodiscard]] result<cgroup_place> place_of_cgroups(const std::string& mounts,
                                                    const std::string& own_groups);

class cgroup_tree {
public:
  /// The limits that the kernel can enforce for a node here.
  struct limited {
    bool memory = false;
    bool processes = false;
    bool cpu = false;
    [[nodiscard]] bool any() const { return memory || processes || cpu; }
    bool operator==(const limited&) const = default;
  };

  /// Makes the tree of a cell, or takes over an earlier agent's: as root at the top of the
  /// hierarchy, else in this program's own group, if its user may change that (systemd's
  /// Delegate=yes). `members` may join their own node's limited group, and no other. The failure
  /// says in words why there can be none.
  [[nodiscard]] static result<cgroup_tree> open(const cgroup_place& where, const std::string& cell,
                                                const system_user& members);

  /// A tree in an existing directory whose groups may have these limits.
  cgroup_tree(std::string directory, limited can, const system_user& members);

  [[nodiscard]] limited can() const { return can_; }

  /// Makes a node's groups, or takes over existing ones, and sets the limits.
  [[nodiscard]] std::optional<std::string> make(const std::string& node_id,
                                                const model::node_limits& limits) const;
  /// Puts a process into its keeper's group.
  [[nodiscard]] std::optional<std::string> add_keeper(const std::string& node_id, pid_t pid) const;
  /// A process that writes 0 to this file joins the limited group, with all that it starts
  /// afterwards.
  [[nodiscard]] std::string joined_by(const std::string& node_id) const;
  /// Whether there are groups of this node.
  [[nodiscard]] bool has(const std::string& node_id) const;
  [[nodiscard]] std::vector<pid_t> processes_of(const std::string& node_id) const;
  /// Kills the processes left in a node's groups and removes the groups. Returns how many processes
  /// there were, or 1 if there are none but a group cannot be removed yet.
  [[nodiscard]] std::size_t remove(const std::string& node_id) const;
  /// How often the kernel killed a process of the node for lack of memory.
  [[nodiscard]] std::size_t memory_kills(const std::string& node_id) const;

private:
  [[nodiscard]] std::string group_of(const std::string& node_id) const;

  std::string directory_;
  limited can_;
  uid_t members_;
};

} // namespace matriarch::cell
