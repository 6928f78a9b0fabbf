#pragma once

#include "actors/engine.hpp"
#include "engines/postgresql/actors/scram_verifier.hpp"

namespace matriarch::engines::postgresql {

/// Makes the roles of an instance's bindings on its leader what the order says. Blocks, for some
/// seconds at most, and waits for no application.
///
/// A role that is ours carries a comment that only a superuser can set; no other role but the owner
/// is ever touched. One that is wanted and missing is created, one that differs is altered; each
/// goes by itself where they do not go together. A role that may write becomes the owner with its
/// first statement, so that whatever it makes is the owner's. One whose binding is still being made
/// counts as made once a login with it has worked.
///
/// One that is not wanted any more becomes a member of a group that pg_hba.conf refuses. That needs
/// no lock that the role could hold: its own row it can, by changing its password in a transaction
/// that it leaves open. It is told in the answer, for a role_removal.
[[nodiscard]] actors::role_answer make_roles(const actors::role_order& order,
                                             known_passwords& passwords);

} // namespace matriarch::engines::postgresql
