#pragma once

#include <string>
#include <string_view>

namespace matriarch::engines::postgresql {

/// The text of `sitecustomize.py` in a directory of each node's PYTHONPATH. It keeps a Patroni
/// leader from taking the leader's key from its successor.
///
/// Patroni 3.0.2 writes that key unconditionally whenever its lease has ended, because it trusts
/// its copy of etcd's keys. After a freeze the copy is outdated: the replaced leader overwrote its
/// successor's key, the successor gave up, and writes that it had acknowledged were lost, also in
/// synchronous clusters. Later versions compare first. The guard makes 3.0.2 do the same, and does
/// not change later versions.
///
/// Whether a Patroni needs the guard is found by a trial, not by its version: its own code runs
/// against a minimal simulated etcd. A Patroni that passes neither alone nor with the guard exits
/// with `lock_guard_refused` before it has done anything, and prints the reason on standard error.
[[nodiscard]] std::string lock_guard_text();

/// With this variable in the environment the program only checks its Patroni and exits with one of
/// the two codes. A program that ends otherwise has not loaded the guard.
inline constexpr std::string_view lock_guard_check = "MATRIARCH_CHECKS_PATRONI";

// Exit codes that neither Python nor Patroni use; the second is EX_CONFIG of sysexits.h.
inline constexpr int lock_guard_holds = 86;
inline constexpr int lock_guard_refused = 78;

} // namespace matriarch::engines::postgresql
