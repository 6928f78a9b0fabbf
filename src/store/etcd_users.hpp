#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/etcd.hpp"

/// Manages etcd's users and roles. The caller makes the API calls.
namespace matriarch::store::etcd_users {

struct answer {
  int status = 0;
  std::string body = {};
  std::string error = {}; ///< for people; empty if the status is 200
};

/// Calls etcd: a path, a body, and a callback for the answer. All calls can be repeated.
using ask = std::function<void(std::string, std::string, std::function<void(answer)>)>;

/// As etcd_client::admit_user. Leaves a user with other roles than its own unchanged: it is not the
/// broker's.
void admit(ask etcd, std::string username, std::string password,
           const std::vector<key_range>& readable, const std::vector<key_range>& writable,
           std::function<void(std::string)> done);

/// As etcd_client::dismiss_user; also leaves users with other roles unchanged.
void dismiss(ask etcd, std::string username, std::function<void(std::string)> done);

} // namespace matriarch::store::etcd_users
