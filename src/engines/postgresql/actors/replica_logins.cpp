#include "engines/postgresql/actors/replica_logins.hpp"

#include <chrono>
#include <system_error>
#include <utility>

#include "engines/postgresql/actors/session_ends.hpp"

namespace matriarch::engines::postgresql {

namespace {

// A replica that does not answer must not take the time of the others.
constexpr auto longest_login = std::chrono::milliseconds{500};
constexpr auto longest_answer = std::chrono::milliseconds{500};

} // namespace

void replica_logins::begin(const std::map<std::string, std::string>& where,
                           const model::credentials& superuser,
                           const std::set<std::string>& leaving) {
  auto log_in = [=](const std::string& url) -> result<session> {
    auto opened = session::open(url, superuser, std::chrono::steady_clock::now() + longest_login);
    if (opened.ok()) {
      opened->until(std::chrono::steady_clock::now() + longest_answer);
      if (auto told = end_sessions(*opened, leaving); !told.ok())
        return failure{told.error()}; // a late answer would be taken for the next one
    }
    return opened;
  };
  for (const auto& [name, url] : where)
    try {
      coming_[name] = std::async(std::launch::async, log_in, url);
    } catch (const std::system_error&) {
      coming_.erase(name); // no thread is available; a later order tries this replica again
    }
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

} // namespace matriarch::engines::postgresql
