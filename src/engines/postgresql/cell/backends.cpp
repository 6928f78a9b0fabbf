#include "engines/postgresql/cell/backends.hpp"

#include <signal.h>

#include <algorithm>

#include "base/processes.hpp"

namespace matriarch::engines::postgresql {

namespace {

constexpr std::string_view of_postgresql = "postgres: ";
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
  // Until a process has set its handlers, a signal would end it.
  for (auto pid : processes)
    if (is_postmaster(base::title_of(pid)) && base::handles_signal(pid, SIGHUP))
      ::kill(pid, SIGHUP);
}

std::size_t end_backends(const std::vector<pid_t>& processes, std::string_view cluster,
                         const std::set<std::string>& roles) {
  return static_cast<std::size_t>(std::ranges::count_if(processes, [&](pid_t pid) {
    return roles.contains(std::string{user_in_title(base::title_of(pid), cluster)})
           && ::kill(pid, SIGTERM) == 0;
  }));
}

} // namespace matriarch::engines::postgresql
