#pragma once

#include <string>

/// The groups of roles that each instance has.
namespace matriarch::engines::postgresql {

/// The role whose members read what the owner's applications create, and the role whose members
/// pg_hba.conf refuses; `owner` is the instance's application user.
[[nodiscard]] std::string readers_role(const std::string& owner);
[[nodiscard]] std::string revoked_role(const std::string& owner);
/// The role whose only member is the owner. Rights granted to it survive an application's DROP
/// OWNED.
[[nodiscard]] std::string writers_role(const std::string& owner);

} // namespace matriarch::engines::postgresql
