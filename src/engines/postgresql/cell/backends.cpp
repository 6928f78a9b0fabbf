#include "engines/postgresql/cell/backends.hpp"

#include <signal.h>

#include <algorithm>
#include <array>

#include "base/processes.hpp"

namespace matriarch::engines::postgresql {

namespace {

constexpr std::string_view of_postgresql = "postgres: ";
/// The postmaster keeps the title that it was started with. So does its child until a client has
/// authenticated; a reload signal makes that child read its configuration, too.
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
  // A session's title continues with its database and its client; other processes' titles do not.
  auto end = title.find(' ');
  auto rest = end == title.npos ? std::string_view{} : title.substr(end + 1);
  return rest.find(' ') == rest.npos ? std::string_view{} : title.substr(0, end);
}

void reload_postgresql(const std::vector<pid_t>& processes) {
  // A signal would end a process that has not set its handlers yet.
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

bool may_write(std::string_view title, std::string_view cluster, bool whatever_runs) {
  auto user = user_in_title(title, cluster);
  // PostgreSQL's own processes whose titles have as many words. Replicas and vacuum need theirs.
  constexpr std::array<std::string_view, 9> own{"walsender", "walreceiver", "autovacuum",
                                                "parallel",  "logical",     "startup",
                                                "archiver",  "background",  "walwriter"};
  // Ends of session titles: of those in no statement,
  constexpr std::array<std::string_view, 5> idle{" idle", " idle in transaction",
                                                 " idle in transaction (aborted)",
                                                 " authentication", " startup"};
  // and of statements that only read, or make room.
  constexpr std::array<std::string_view, 8> spared{" SELECT",         " SHOW",      " FETCH",
                                                   " EXPLAIN",        " DELETE",    " VACUUM",
                                                   " TRUNCATE TABLE", " DROP TABLE"};
  if (user.empty() || std::ranges::find(own, user) != own.end())
    return false;
  auto is = [&](auto end) { return title.ends_with(end); };
  if (std::ranges::any_of(idle, is))
    return false;
  if (constexpr std::string_view waiting = " waiting"; title.ends_with(waiting))
    title.remove_suffix(waiting.size());
  return whatever_runs || std::ranges::none_of(spared, is);
}

std::size_t cancel_writers(const std::vector<pid_t>& processes, std::string_view cluster,
                           const std::set<std::string>& spared, bool whatever_runs) {
  return static_cast<std::size_t>(std::ranges::count_if(processes, [&](pid_t pid) {
    auto title = base::title_of(pid);
    return may_write(title, cluster, whatever_runs)
           && !spared.contains(std::string{user_in_title(title, cluster)})
           && ::kill(pid, SIGINT) == 0;
  }));
}

} // namespace matriarch::engines::postgresql
