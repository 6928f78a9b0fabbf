#pragma once

#include <sys/types.h>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

/// The sessions of a node's PostgreSQL, read from its process titles. That needs no login: a
/// session can hold locks that keep everybody else out.
namespace matriarch::engines::postgresql {

/// The role of a session by its process title; empty if the process is no session. `cluster` is the
/// cluster's name, with which titles begin.
[[nodiscard]] std::string_view user_in_title(std::string_view title, std::string_view cluster);

/// Has PostgreSQL read its configuration again, with pg_hba.conf, for later connections.
/// `processes` are a node's; the postmaster is found by its program's name.
void reload_postgresql(const std::vector<pid_t>& processes);

/// Tells the sessions of these roles among the processes to end, as pg_terminate_backend() does.
/// Returns their number.
[[nodiscard]] std::size_t end_backends(const std::vector<pid_t>& processes,
                                       std::string_view cluster,
                                       const std::set<std::string>& roles);

/// Whether a session's process, by its title, is running a statement that may write and does not make room.
/// `whatever_runs`: whether it is running any statement, for a SELECT can call what writes, and fill
/// temporary files.
[[nodiscard]] bool may_write(std::string_view title, std::string_view cluster,
                             bool whatever_runs = false);

/// Cancels the statements of processes that may be writing, as pg_cancel_backend() does, except
/// these roles' sessions. Returns their number.
[[nodiscard]] std::size_t cancel_writers(const std::vector<pid_t>& processes,
                                         std::string_view cluster,
                                         const std::set<std::string>& spared, bool whatever_runs);

} // namespace matriarch::engines::postgresql
