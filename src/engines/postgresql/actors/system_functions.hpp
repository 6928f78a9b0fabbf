#pragma once

#include <optional>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// The roles that a database's functions are for. They are PostgreSQL's own groups, without login.
struct function_users {
  std::string owner;   ///< whose members are the applications
  std::string writers; ///< a group whose only member is the owner
  std::string readers; ///< a group of those who only read; empty if there is none
};

/// Makes PostgreSQL's own functions in the session's database, which its superuser opened, what
/// applications need them to be; why that could not be done, if so.
///
/// - Who works as the owner may cancel and end the sessions of all bindings of this instance, though
///   these logged in as other roles (`pg_cancel_backend`, `pg_terminate_backend`).
/// - Readers may read every large object (`lo_open`, `lo_get`).
/// - What fills the disk without a right to any object is taken from the public and given to the
///   owner, by a group, so that a DROP OWNED of the application's does not take it away.
///
/// Under the names that everybody uses, in pg_catalog, stand functions of ours, which either have
/// the right by themselves or call PostgreSQL's, renamed, as whoever asks. The parts that have
/// rights lie in a schema of their own, pg_matriarch. pg_dump passes over both, whichever
/// search_path is set does not matter, and a new major version, which has neither, gets them anew.
[[nodiscard]] std::optional<std::string> keep_system_functions(session& database,
                                                               const function_users& who);

} // namespace matriarch::engines::postgresql
