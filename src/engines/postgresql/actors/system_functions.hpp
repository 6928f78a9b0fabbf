#pragma once

#include <optional>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// The roles that a database's functions are made for; the last two are groups without login.
struct function_users {
  std::string owner;   ///< applications are its members
  std::string writers; ///< a group whose only member is the owner
  std::string readers; ///< a group of the roles that only read; empty if there are none
};

/// Adapts PostgreSQL's own functions to the needs of applications in the session's database, which
/// a superuser has opened. Returns the reason if that failed.
///
/// - Roles that work as the owner may cancel and end sessions of all bindings of this instance,
///   though these logged in as other roles (`pg_cancel_backend`, `pg_terminate_backend`).
/// - Readers may read every large object (`lo_open`, `lo_get`).
/// - Functions that fill the disk without a right to any object are taken from the public and
///   granted to the owner through a group, so that an application's DROP OWNED does not remove the
///   grant.
///
/// Functions of Matriarch take the usual names in pg_catalog. They either have the right themselves
/// or call PostgreSQL's renamed function as the calling role. The parts with a superuser's rights
/// are in the schema pg_matriarch. pg_dump leaves out both; the search_path does not matter; and a
/// new major version, which has neither, gets them again.
[[nodiscard]] std::optional<std::string> keep_system_functions(session& database,
                                                               const function_users& who);

} // namespace matriarch::engines::postgresql
