#include "cell/system_user.hpp"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include <fmt/format.h>

namespace matriarch::cell {

result<system_user> find_user(const std::string& name) {
  errno = 0;
  const auto* entry = name.empty() ? ::getpwuid(geteuid()) : ::getpwnam(name.c_str());
  if (!entry)
    return failure{name.empty() ? fmt::format("the user {} has no name", geteuid())
                                : fmt::format("there is no user {}", name)};
  system_user user{entry->pw_name, entry->pw_uid, entry->pw_gid, {}};
  if (geteuid() != 0 && user.uid != geteuid())
    return failure{fmt::format("only root can start nodes as {}; run the cell as root or as {}, or "
                               "leave run_as out",
                               user.name, user.name)};
  if (user.uid == 0)
    return failure{"nodes do not run as root; name another user with run_as"};
  int count = 64;
  user.groups.resize(static_cast<std::size_t>(count));
  if (::getgrouplist(user.name.c_str(), user.gid, user.groups.data(), &count) < 0) {
    user.groups.resize(static_cast<std::size_t>(count));
    ::getgrouplist(user.name.c_str(), user.gid, user.groups.data(), &count);
  }
  user.groups.resize(static_cast<std::size_t>(count));
  return user;
}

} // namespace matriarch::cell
