#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/etcd.hpp"

/// etcd's users and roles, by calls of its API that somebody else makes.
namespace matriarch::store::etcd_users {

struct answer {
  int status = 0;
  std::string body = {};
  std::string error = {}; ///< for people; empty if the status is 200
};

/// Asks etcd: a path, a body, and what to do with the answer. What is asked may be asked again.
using ask = std::function<void(std::string, std::string, std::function<void(answer)>)>;

/// As etcd_client::admit_user. A user that has other roles than its own is not touched, for it is
/// somebody else's.
void admit(ask etcd, std::string username, std::string password,
           const std::vector<key_range>& readable, const std::vector<key_range>& writable,
           std::function<void(std::string)> done);

/// As etcd_client::dismiss_user; it leaves somebody else's user as well.
void dismiss(ask etcd, std::string username, std::function<void(std::string)> done);

} // namespace matriarch::store::etcd_users
