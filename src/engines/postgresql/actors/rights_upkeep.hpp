#pragma once

#include "actors/engine.hpp"

namespace matriarch::engines::postgresql {

/// Makes what the applications of an instance may do, beyond the roles themselves, what it shall be:
/// the groups of its roles, PostgreSQL's functions in its database, and what readers read. Blocks,
/// for some seconds at most; what is not complete goes on where it stopped with the next order.
[[nodiscard]] actors::rights_answer keep_rights(const actors::rights_order& order);

} // namespace matriarch::engines::postgresql
