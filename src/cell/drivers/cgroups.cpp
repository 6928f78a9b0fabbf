#include "cell/drivers/cgroups.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "model/names.hpp"

namespace matriarch::cell {

namespace {

constexpr const char* keeper = "keeper";
constexpr const char* limited_group = "limited";
/// The group into which an agent moves itself, so that its own group can have subgroups with
/// limits.
constexpr const char* agents = "agent";

/// The kernel's files need a single write with the whole text.
std::optional<std::string> write_to(const std::string& path, const std::string& text) {
  int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  bool written =
      file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  auto why = written ? 0 : errno;
  if (file >= 0)
    ::close(file);
  if (written)
    return std::nullopt;
  return fmt::format("cannot write {} to {}: {}", text, path, std::strerror(why));
}

std::string text_in(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream{path}.rdbuf();
  return text.str();
}

std::optional<std::string> make_group(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST)
    return std::nullopt;
  return fmt::format("cannot make the group {}: {}", path, std::strerror(errno));
}

bool has_word(const std::string& text, std::string_view word) {
  std::istringstream words{text};
  for (std::string one; words >> one;)
    if (one == word)
      return true;
  return false;
}

/// Enables limits for the groups inside that one, as far as it may have them itself.
cgroup_tree::limited hand_down(const std::string& group) {
  auto handed = [&](const std::string& controller) {
    return has_word(text_in(group + "/cgroup.controllers"), controller)
           && (has_word(text_in(group + "/cgroup.subtree_control"), controller)
               || !write_to(group + "/cgroup.subtree_control", "+" + controller));
  };
  return {handed("memory"), handed("pids"), handed("cpu")};
}

std::vector<pid_t> pids_in(const std::string& group) {
  std::vector<pid_t> all;
  std::ifstream list{group + "/cgroup.procs"};
  for (pid_t pid = 0; list >> pid;)
    if (pid > 0) // 0: a process of another namespace; kill() takes 0 for one's own group
      all.push_back(pid);
  return all;
}

} // namespace

result<cgroup_place> place_of_cgroups(const std::string& mounts, const std::string& own_groups) {
  cgroup_place place;
  std::istringstream lines{mounts};
  for (std::string line; place.mounted_at.empty() && std::getline(lines, line);) {
    std::istringstream fields{line};
    std::string device, at, type;
    if (fields >> device >> at >> type && type == "cgroup2")
      place.mounted_at = at;
  }
  if (place.mounted_at.empty())
    return failure{"no control groups of version 2 are mounted"};
  // Groups of version 1 have numbers and names between the colons.
  constexpr std::string_view of_version_2 = "0::";
  std::istringstream groups{own_groups};
  for (std::string line; std::getline(groups, line);)
    if (line.starts_with(of_version_2))
      place.own = line.substr(of_version_2.size());
  if (!place.own.starts_with('/') || place.own.find("/..") != std::string::npos)
    return failure{"this program's own control group cannot be seen from here"};
  return place;
}

cgroup_tree::cgroup_tree(std::string directory, limited can, const system_user& members)
    : directory_(std::move(directory)), can_(can), members_(members.uid) {}

result<cgroup_tree> cgroup_tree::open(const cgroup_place& where, const std::string& cell,
                                      const system_user& members) {
  // A guid may have any character but a slash; dots and dashes have a meaning for systemd.
  auto name = "matriarch_" + model::start_of_sha256(cell, 16);
  auto own = where.own == "/" ? where.mounted_at : where.mounted_at + where.own;
  std::string why;
  auto attempt = [&](const std::string& above) -> std::optional<cgroup_tree> {
    if (!hand_down(above).any()) {
      why = fmt::format("the group {} cannot limit groups inside it", above);
      return std::nullopt;
    }
    auto directory = above + "/" + name;
    if (auto error = make_group(directory)) {
      why = *error;
      return std::nullopt;
    }
    auto can = hand_down(directory);
    if (can.any())
      return cgroup_tree{directory, can, members};
    why = fmt::format("the group {} cannot limit groups inside it", directory);
    ::rmdir(directory.c_str());
    return std::nullopt;
  };
  // At the top of the hierarchy, so that the end of this program's service does not reach the
  // nodes.
  if (::access(where.mounted_at.c_str(), W_OK) == 0)
    if (auto made = attempt(where.mounted_at))
      return *made;
  if (::access(own.c_str(), W_OK) != 0)
    return failure{why.empty() ? fmt::format("the group {} belongs to another user", own) : why};
  // A group can give limits to subgroups only while it holds no process itself.
  auto aside = own + "/" + agents;
  if (auto error = make_group(aside))
    return failure{*error};
  if (auto error = write_to(aside + "/cgroup.procs", "0"))
    return failure{*error};
  if (auto made = attempt(own))
    return *made;
  (void)write_to(own + "/cgroup.procs", "0");
  ::rmdir(aside.c_str());
  return failure{why};
}

/// A node's id may be the name of one of the kernel's files.
std::string cgroup_tree::group_of(const std::string& node_id) const {
  return fmt::format("{}/node_{}", directory_, node_id);
}

std::optional<std::string> cgroup_tree::make(const std::string& node_id,
                                             const model::node_limits& limits) const {
  auto node = group_of(node_id);
  auto walls = node + "/" + limited_group;
  for (const auto& group : {node, node + "/" + keeper, walls}) {
    if (auto error = make_group(group))
      return error;
    if (group == node)
      (void)hand_down(group);
  }
  std::optional<std::string> failed;
  auto set = [&](bool possible, const char* file, const std::string& text) {
    if (possible && !failed)
      failed = write_to(walls + "/" + file, text);
  };
  auto or_max = [](std::int64_t most) { return most > 0 ? std::to_string(most) : "max"; };
  set(can_.memory, "memory.max", or_max(limits.memory));
  // One of its processes is killed, not all: a database server knows how to go on without one.
  set(can_.memory, "memory.oom.group", "0");
  // Not every kernel counts swapped memory.
  if (can_.memory && limits.memory > 0)
    (void)write_to(walls + "/memory.swap.max", "0");
  set(can_.processes, "pids.max", or_max(limits.processes));
  constexpr std::int64_t period = 100'000; // the kernel's default, in microseconds
  set(can_.cpu, "cpu.max",
      fmt::format("{} {}", limits.cpu > 0 ? std::to_string(limits.cpu * period / 100) : "max",
                  period));
  // A process that joins needs this right on its new group, and on the group around that and the
  // keeper's.
  for (const auto& group : {node, walls})
    if (::chown((group + "/cgroup.procs").c_str(), members_, static_cast<gid_t>(-1)) != 0
        && !failed)
      failed = fmt::format("cannot give {}/cgroup.procs to the node's user: {}", group,
                           std::strerror(errno));
  return failed;
}

std::optional<std::string> cgroup_tree::add_keeper(const std::string& node_id, pid_t pid) const {
  return write_to(fmt::format("{}/{}/cgroup.procs", group_of(node_id), keeper),
                  std::to_string(pid));
}

std::string cgroup_tree::joined_by(const std::string& node_id) const {
  return fmt::format("{}/{}/cgroup.procs", group_of(node_id), limited_group);
}

bool cgroup_tree::has(const std::string& node_id) const {
  return ::access(group_of(node_id).c_str(), F_OK) == 0;
}

std::vector<pid_t> cgroup_tree::processes_of(const std::string& node_id) const {
  std::vector<pid_t> all;
  for (const auto* group : {keeper, limited_group})
    for (auto pid : pids_in(fmt::format("{}/{}", group_of(node_id), group)))
      all.push_back(pid);
  return all;
}

std::size_t cgroup_tree::remove(const std::string& node_id) const {
  if (!has(node_id))
    return 0;
  auto left = processes_of(node_id);
  for (auto pid : left)
    ::kill(pid, SIGKILL);
  if (!left.empty())
    return left.size();
  auto node = group_of(node_id);
  for (const auto& group : {node + "/" + keeper, node + "/" + limited_group, node})
    if (::rmdir(group.c_str()) != 0 && errno != ENOENT)
      return 1;
  return 0;
}

std::size_t cgroup_tree::memory_kills(const std::string& node_id) const {
  std::ifstream events{fmt::format("{}/{}/memory.events", group_of(node_id), limited_group)};
  std::string name;
  for (std::size_t count = 0; events >> name >> count;)
    if (name == "oom_kill")
      return count;
  return 0;
}

} // namespace matriarch::cell
