#pragma once

#include <optional>
#include <string>
#include <vector>

#include "actors/engine.hpp"
#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// What keeps a login from working.
struct login_fault {
  std::string words;
  bool only_late = false; ///< it took too long, and nothing was found that it may hang by
};

/// Logs in with a new binding's credentials at the leader as an application does, and does the
/// least that one does. Gives what keeps it from working, in words for whoever made the database
/// so: its owner may have made settings that end every session. What locks everybody out, so that
/// nobody but a superuser could take it back, is taken back. `leader` is a superuser's session. The
/// processes of sessions that were let in, and which are about to end, go into `ending`.
[[nodiscard]] std::optional<login_fault> fault_of_login(session& leader,
                                                        const actors::role_order& order,
                                                        const actors::wanted_role& wanted,
                                                        deadline until, std::vector<int>& ending);

/// Waits until a process of the leader's is gone, and with it its place: what shows that it is gone
/// does so an instant before the place is free.
[[nodiscard]] std::optional<std::string> await_end(session& leader, int process, deadline until);

} // namespace matriarch::engines::postgresql
