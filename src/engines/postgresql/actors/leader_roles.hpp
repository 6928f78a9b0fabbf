#pragma once

#include "actors/engine.hpp"
#include "engines/postgresql/actors/scram_verifier.hpp"

namespace matriarch::engines::postgresql {

/// Brings the roles of an instance's bindings on its leader in line with the order. Blocks for some
/// seconds at most, and does not wait for applications.
///
/// Matriarch's roles carry a comment that only a superuser can set; apart from the owner, no other
/// role is ever changed. A missing role is created, a differing one altered, each in its own
/// transaction if one for all fails. A role that may write becomes the owner with its first
/// statement, so that the owner owns everything it creates. The role of a binding that is still
/// being made counts as made once a login with it has worked.
///
/// A role that is not wanted any more becomes a member of a group that pg_hba.conf refuses. That
/// needs no lock on the role itself, which the role could hold by changing its password in a
/// transaction that it leaves open. Such roles are listed in the answer, for a role_removal.
[[nodiscard]] actors::role_answer make_roles(const actors::role_order& order,
                                             known_passwords& passwords);

} // namespace matriarch::engines::postgresql
