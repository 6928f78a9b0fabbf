#pragma once

#include <string>
#include <vector>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// The limit of a reader's session for temporary files if the plan has none: enough for a report
/// over a table that fits on a small node's disk.
inline constexpr const char* reader_temporary_files = "1GB";

/// The result of comparing the readers' rights.
struct rights_found {
  bool complete = false;                 ///< everything was compared
  std::string why = {};                  ///< the reason of a failure
  std::vector<std::string> skipped = {}; ///< objects that another session is changing
};

/// Compares the rights of `readers`, a group without login, and of its members in the session's
/// database with what they should be, and changes them: readers read everything that anybody has
/// created there and write nothing. Objects of an extension are opened only by the extension
/// itself.
///
/// Works in small transactions, none of which waits longer than a moment or holds a lock that a
/// query or a change of rows needs. Passes over objects that another session is changing. Ends some
/// time after `until` at the latest; the next call continues.
///
/// `owner`: the role whose default privileges are set, so that readers can read at once what it
/// creates later.
[[nodiscard]] rights_found compare_rights(session& database, const std::string& owner,
                                          const std::string& readers, deadline until);

} // namespace matriarch::engines::postgresql
