#include "actors/replica_logins.hpp"

#include <chrono>
#include <utility>

#include "actors/session_ends.hpp"

namespace matriarch::actors {

namespace {

using postgresql::session;

// A replica that does not answer cannot be helped, and must not take the time of the others.
constexpr auto longest_login = std::chrono::milliseconds{300};

} // namespace

void replica_logins::begin(const std::map<std::string, std::string>& where,
                           const model::credentials& superuser,
                           const std::set<std::string>& leaving) {
  for (const auto& [name, url] : where)
    coming_[name] = std::async(std::launch::async, [=] {
      auto opened = session::open(url, superuser, std::chrono::steady_clock::now() + longest_login);
      if (opened.ok())
        (void)end_sessions(*opened, leaving);
      return opened;
    });
}

std::map<std::string, session> replica_logins::finish(std::set<std::string>& silent) {
  std::map<std::string, session> entered;
  for (auto& [name, one] : std::exchange(coming_, {})) {
    auto opened = one.get();
    if (opened.ok())
      entered.emplace(name, std::move(*opened));
    else
      silent.insert(name);
  }
  return entered;
}

} // namespace matriarch::actors
