#include "cell/backends.hpp"

#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

namespace matriarch::cell {

namespace {

constexpr std::string_view of_postgresql = "postgres: ";
// The user stands near the beginning.
constexpr std::size_t longest_title = 512;

std::string title_of(pid_t pid) {
  std::ifstream file{fmt::format("/proc/{}/cmdline", pid)};
  std::string title(longest_title, '\0');
  file.read(title.data(), static_cast<std::streamsize>(title.size()));
  return title.substr(0, title.find('\0'));
}

/// Until it has set its handlers, a signal would end it.
bool handles_reload(pid_t pid) {
  constexpr std::string_view caught = "SigCgt:\t";
  std::ifstream file{fmt::format("/proc/{}/status", pid)};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(caught))
      return (std::strtoull(line.c_str() + caught.size(), nullptr, 16) >> (SIGHUP - 1) & 1) != 0;
  return false;
}

/// The postmaster keeps the title that it was started with; so does its child until a client has said
/// who it is, which reads its configuration again as well.
bool is_postmaster(std::string_view title) {
  return title == "postgres" || title.ends_with("/postgres");
}

} // namespace

std::string_view user_in_title(std::string_view title, std::string_view cluster) {
  if (!title.starts_with(of_postgresql))
    return {};
  title.remove_prefix(of_postgresql.size());
  if (title.starts_with(cluster) && title.substr(cluster.size()).starts_with(": "))
    title.remove_prefix(cluster.size() + 2);
  // A session's title goes on with its database and its client; those of other processes do not.
  auto end = title.find(' ');
  auto rest = end == title.npos ? std::string_view{} : title.substr(end + 1);
  return rest.find(' ') == rest.npos ? std::string_view{} : title.substr(0, end);
}

void reload_postgresql(const std::vector<pid_t>& processes) {
  for (auto pid : processes)
    if (is_postmaster(title_of(pid)) && handles_reload(pid))
      ::kill(pid, SIGHUP);
}

std::size_t end_backends(const std::vector<pid_t>& processes, std::string_view cluster,
                         const std::set<std::string>& roles) {
  return static_cast<std::size_t>(std::ranges::count_if(processes, [&](pid_t pid) {
    return roles.contains(std::string{user_in_title(title_of(pid), cluster)})
           && ::kill(pid, SIGTERM) == 0;
  }));
}

} // namespace matriarch::cell
