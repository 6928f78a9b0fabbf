#pragma once

#include "actors/engine.hpp"

namespace matriarch::engines::postgresql {

/// Sets what an instance's applications may do beyond their roles: the groups of roles,
/// PostgreSQL's functions in the database, and the readers' rights. Blocks for some seconds at
/// most; the next order continues what is not complete.
[[nodiscard]] actors::rights_answer keep_rights(const actors::rights_order& order);

} // namespace matriarch::engines::postgresql
