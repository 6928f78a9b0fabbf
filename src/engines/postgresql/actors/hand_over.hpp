#pragma once

#include <optional>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// What a tenant is told of what no transaction of ours gets hold of.
inline constexpr const char* locked_by_others =
    "another transaction, open or prepared, holds what it owns or what names it (lock timeout)";

/// Gives what `leaving` owns in the session's database to `heir`, and takes away what names it:
/// privileges, policies, default privileges. In transactions of bounded size, for the locks and the
/// memory of one would have to be as many as the objects are. What others' transactions hold is
/// passed over; everything else goes on. Done in part by `end`, a later call goes on from there.
/// Gives what is in the way, or that the time was over.
[[nodiscard]] std::optional<std::string> hand_over(session& in, const std::string& leaving,
                                                   const std::string& heir, deadline end);

} // namespace matriarch::engines::postgresql
