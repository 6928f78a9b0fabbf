#pragma once

#include <mutex>
#include <set>
#include <string>

#include "actors/messages.hpp"

namespace matriarch::actors {

/// Which passwords are known to be those of which SCRAM verifiers: to find out takes milliseconds
/// by design, and is asked for each role of an instance whenever one of them changes.
class known_passwords {
public:
  /// Whether `verifier`, as pg_authid has it, was made of this password.
  [[nodiscard]] bool match(const std::string& verifier, const std::string& password);

private:
  std::mutex guard_;
  std::set<std::string> matching_; ///< digests of verifier and password together
};

/// Makes the roles of an instance's bindings on its leader what the order says. Blocks, for some
/// seconds at most.
///
/// A role that is ours carries a comment that only a superuser can set; no other role but the owner
/// is ever touched. One that is wanted and missing is created, one that differs is altered. One
/// that is not wanted any more can first not log in, then loses its sessions, then hands over what
/// it owns, and is dropped. A role that may write becomes the owner with its first statement, so
/// that whatever it makes is the owner's.
[[nodiscard]] role_answer make_roles(const role_order& order, known_passwords& passwords);

} // namespace matriarch::actors
