#pragma once

#include <string>
#include <vector>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// How much each session of a reader may put into temporary files, where the plan does not say so
/// of everybody: enough for a report over a table that fits onto a small node's disk.
inline constexpr const char* reader_temporary_files = "1GB";

/// What comparing the readers' rights with what they shall be came to.
struct rights_found {
  bool complete = false;                 ///< everything was looked at
  std::string why = {};                  ///< why not, if something went wrong
  std::vector<std::string> skipped = {}; ///< objects that somebody is changing
};

/// Compares what `readers`, a group without login, and its members may do in the session's database
/// with what they shall be able to, and changes what differs: they read everything that anybody has
/// made there and write nothing. What belongs to an extension is the extension's to open.
///
/// In small transactions, each for itself, of which none waits longer than a moment and none holds
/// what a query or a change of rows needs. An object that somebody is changing is passed over. Ends
/// some time after `until` at the latest, and goes on where it stopped when it is called again.
///
/// `owner` is whose default privileges are set, so that what it makes later can be read at once.
[[nodiscard]] rights_found compare_rights(session& database, const std::string& owner,
                                          const std::string& readers, deadline until);

} // namespace matriarch::engines::postgresql
