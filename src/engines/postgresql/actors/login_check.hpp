#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/engine.hpp"
#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Why a login does not work.
struct login_fault {
  std::string words;
  bool only_late = false; ///< the login took too long and no obstacle was found
};

/// Logs in with a new binding's credentials at the leader as an application does, and runs one
/// simple statement. If that fails, returns the reason, in words for the database's owner, who may
/// have made settings that end every session. Locks that only a superuser could undo, because
/// nobody else can log in, are undone. `leader` is a superuser's session. The processes of sessions
/// that were let in and are about to end are added to `ending`.
[[nodiscard]] std::optional<login_fault> fault_of_login(session& leader,
                                                        const actors::role_order& order,
                                                        const actors::wanted_role& wanted,
                                                        deadline until, std::vector<int>& ending);

/// Waits until a process of the leader is gone and its connection slot is free: views show its end
/// an instant before the slot is free.
[[nodiscard]] std::optional<std::string> await_end(session& leader, int process, deadline until);

} // namespace matriarch::engines::postgresql
