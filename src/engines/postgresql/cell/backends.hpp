#pragma once

#include <sys/types.h>

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

/// The sessions of a node's PostgreSQL, as the titles of their processes tell them. That needs no login:
/// a session can hold what keeps everybody else out.
namespace matriarch::engines::postgresql {

/// Whose session a process of PostgreSQL is, by its title; empty if it is none. `cluster` is the
/// cluster's name, which titles begin with.
[[nodiscard]] std::string_view user_in_title(std::string_view title, std::string_view cluster);

/// Has PostgreSQL read its configuration again, pg_hba.conf among it: for whoever connects from then on.
/// `processes` are a node's; its postmaster is found by the name of its program.
void reload_postgresql(const std::vector<pid_t>& processes);

/// Tells those of the processes that are sessions of these roles to end, as pg_terminate_backend() does.
/// Gives how many there were.
[[nodiscard]] std::size_t end_backends(const std::vector<pid_t>& processes,
                                       std::string_view cluster,
                                       const std::set<std::string>& roles);

/// Whether a session's process is in the middle of a statement that may write, by its title.
[[nodiscard]] bool may_write(std::string_view title, std::string_view cluster);

/// Cancels the statements of those of the processes that may be writing, as pg_cancel_backend() does, but
/// of these roles. Gives how many there were.
[[nodiscard]] std::size_t cancel_writers(const std::vector<pid_t>& processes,
                                         std::string_view cluster,
                                         const std::set<std::string>& spared);

} // namespace matriarch::engines::postgresql
