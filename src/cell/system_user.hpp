#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/result.hpp"

namespace matriarch::cell {

/// A user of this machine.
struct system_user {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups; ///< all of them
};

/// The user of that name. An empty name is the user that runs this program; without root this is
/// the only user that nodes can run as.
[[nodiscard]] result<system_user> find_user(const std::string& name);

} // namespace matriarch::cell
