#pragma once

#include <future>
#include <map>
#include <set>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Superusers' logins at an instance's replicas, all at once and in parallel with the work on the
/// leader. Each login at once tells the sessions of leaving roles to end.
class replica_logins {
public:
  /// `where`: `login_url` by node id.
  void begin(const std::map<std::string, std::string>& where, const model::credentials& superuser,
             const std::set<std::string>& leaving);
  /// Whether logins are still running.
  [[nodiscard]] bool under_way() const { return !coming_.empty(); }
  /// Waits up to a second and returns the sessions of replicas that let the superuser in; the names
  /// of the others are added to `silent`.
  [[nodiscard]] std::map<std::string, session> finish(std::set<std::string>& silent);

private:
  std::map<std::string, std::future<result<session>>> coming_; ///< by node id
};

} // namespace matriarch::engines::postgresql
