#pragma once

#include "actors/engine.hpp"

namespace matriarch::engines::postgresql {

/// Removes a role of an ended binding. Blocks, for some seconds at most.
///
/// Its login is refused already. Its sessions are ended, on the replicas too; what it prepared is
/// rolled back; what it owns is handed over; then it is dropped. Each role goes by itself: what it,
/// or its tenant, holds up is told of it alone.
[[nodiscard]] actors::role_removal_answer remove_role(const actors::role_removal& order);

} // namespace matriarch::engines::postgresql
