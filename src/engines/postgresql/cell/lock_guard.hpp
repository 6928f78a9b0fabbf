#pragma once

#include <string>
#include <string_view>

namespace matriarch::engines::postgresql {

/// The text of `sitecustomize.py` in a directory of each node's PYTHONPATH. It keeps Patroni's leader
/// from taking the leader's key away from its successor.
///
/// Patroni 3.0.2 puts that key unconditionally whenever its lease has ended, because it believes its
/// copy of etcd's keys. After a freeze the copy is old: the replaced leader overwrote its
/// successor's key, which thereupon gave up and lost what it had acknowledged, in synchronous
/// clusters too. Later versions compare first; this makes the old ones do the same, and does
/// nothing to the later ones.
///
/// Which of the two a Patroni is, is not told by its version: its own code is played against an etcd
/// of a few lines. One that passes neither as it is nor with the guard ends its process with
/// `lock_guard_refused`, before it has done anything, and says why on standard error.
[[nodiscard]] std::string lock_guard_text();

/// With this variable in the environment the program only looks at its Patroni and ends, with one of
/// the two codes. A program that ends otherwise has not heard of the guard.
inline constexpr std::string_view lock_guard_check = "MATRIARCH_CHECKS_PATRONI";

// Exit codes that neither Python nor Patroni have; the second is EX_CONFIG of sysexits.h.
inline constexpr int lock_guard_holds = 86;
inline constexpr int lock_guard_refused = 78;

} // namespace matriarch::engines::postgresql
