#pragma once

#include <optional>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// The text for tenants about an object that the broker's transactions cannot lock.
inline constexpr const char* locked_by_others =
    "another transaction, open or prepared, holds what it owns or what names it (lock timeout)";

/// Gives the objects of `leaving` in the session's database to `heir`, and removes what refers to
/// `leaving`: privileges, policies, default privileges. Works in transactions of bounded size,
/// since one transaction would need locks and memory for all objects. Passes over objects that
/// other transactions hold. If `end` comes first, a later call continues. Returns what is in the
/// way, or that time was up.
[[nodiscard]] std::optional<std::string> hand_over(session& in, const std::string& leaving,
                                                   const std::string& heir, deadline end);

} // namespace matriarch::engines::postgresql
