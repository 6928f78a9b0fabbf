#pragma once

#include <future>
#include <map>
#include <set>
#include <string>

#include "engines/postgresql/actors/session.hpp"

namespace matriarch::engines::postgresql {

/// Superusers' logins at an instance's replicas, all at once and beside whatever the leader is asked
/// meanwhile. Roles that are to go have their sessions there told to end as soon as somebody is in.
class replica_logins {
public:
  /// By node id, the `login_url`.
  void begin(const std::map<std::string, std::string>& where, const model::credentials& superuser,
             const std::set<std::string>& leaving);
  /// Whether there are some whose end was not waited for yet.
  [[nodiscard]] bool under_way() const { return !coming_.empty(); }
  /// The sessions of those replicas that let somebody in, which takes a second at most; the names
  /// of the others go into `silent`.
  [[nodiscard]] std::map<std::string, session> finish(std::set<std::string>& silent);

private:
  std::map<std::string, std::future<result<session>>> coming_; ///< by node id
};

} // namespace matriarch::engines::postgresql
