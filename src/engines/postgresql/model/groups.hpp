#pragma once

#include <string>

/// The groups of roles that each instance has.
namespace matriarch::engines::postgresql {

/// The role whose members read what the owner's applications make, and the one whose
/// members pg_hba.conf refuses; `owner` is the instance's application user.
[[nodiscard]] std::string readers_role(const std::string& owner);
[[nodiscard]] std::string revoked_role(const std::string& owner);
/// The role whose only member the owner is: what it may do as such, no DROP OWNED takes away.
[[nodiscard]] std::string writers_role(const std::string& owner);

} // namespace matriarch::engines::postgresql
