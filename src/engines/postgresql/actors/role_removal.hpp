#pragma once

#include "actors/engine.hpp"

namespace matriarch::engines::postgresql {

/// Removes the role of an ended binding. Blocks for some seconds at most.
///
/// The role's login is refused already. Its sessions are ended, also on the replicas; its prepared
/// transactions are rolled back; its objects are handed over; then it is dropped. Each role is
/// removed by itself, so that a role's own obstacles are reported for that role only.
[[nodiscard]] actors::role_removal_answer remove_role(const actors::role_removal& order);

} // namespace matriarch::engines::postgresql
