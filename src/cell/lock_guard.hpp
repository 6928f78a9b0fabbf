#pragma once

#include <string_view>

namespace matriarch::cell {

/// The text of `sitecustomize.py` in a directory of each node's PYTHONPATH. It keeps Patroni's leader
/// from taking the leader's key away from its successor.
///
/// Patroni 3.0.2 puts that key unconditionally whenever its lease has ended, because it believes its
/// copy of etcd's keys. After a freeze the copy is old: the replaced leader overwrote its
/// successor's key, which thereupon gave up and lost what it had acknowledged, in synchronous
/// clusters too. Later versions compare first; this makes the old ones do the same, and does
/// nothing to the later ones.
[[nodiscard]] std::string_view lock_guard_text();

} // namespace matriarch::cell
