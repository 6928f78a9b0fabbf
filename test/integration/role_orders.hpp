#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

#include "awaiting.hpp"
#include "engines/postgresql/actors/binding_roles.hpp"
#include "engines/postgresql/actors/leader_roles.hpp"
#include "engines/postgresql/actors/rights_upkeep.hpp"
#include "engines/postgresql/actors/role_removal.hpp"
#include "postgresql_server.hpp"

namespace matriarch::test {

using namespace actors;
using namespace engines::postgresql;
using namespace std::chrono_literals;

/// What an instance's actor would order from a server.
struct instance {
  const postgresql_server& server;
  role_order order = {};
  std::map<std::string, std::string> replicas = {};
  std::map<std::string, std::string> lingering = {}; ///< after make()
  known_passwords passwords = {};

  explicit instance(const postgresql_server& on) : server(on) {
    order.conn_url = on.url();
    order.superuser = postgresql_server::superuser();
    order.owner = {"appuser", "the owner's"};
  }

  wanted_role& want(const std::string& name, bool read_only = false) {
    std::erase(order.revoked, name);
    order.wanted.push_back({{name, "password of " + name}, read_only});
    return order.wanted.back();
  }
  /// A wanted role whose binding is being made.
  wanted_role& want_fresh(const std::string& name, bool read_only = false) {
    auto& wanted = want(name, read_only);
    wanted.fresh = true;
    return wanted;
  }
  void drop(const std::string& name) {
    std::erase_if(order.wanted, [&](const auto& one) { return one.who.username == name; });
    order.revoked.push_back(name);
  }
  /// The first order alone: unwanted roles are refused, but still there.
  role_answer refuse_and_make() { return make_roles(order, passwords); }
  [[nodiscard]] role_removal removal_of(const std::string& name) const {
    return {"", order.conn_url, order.superuser, order.owner, name, replicas};
  }
  /// The first removal reuses the sessions at hand.
  void remove(const std::map<std::string, std::string>& leaving,
              std::shared_ptr<actors::open_sessions> at_hand = {}) {
    for (const auto& [name, why] : leaving) {
      auto removal = removal_of(name);
      removal.at_hand = std::exchange(at_hand, {});
      if (auto said = remove_role(removal); !said.gone)
        lingering[name] = said.why;
    }
  }
  /// Both orders, one after the other.
  role_answer make() {
    order.replicas = replicas;
    auto said = refuse_and_make();
    lingering.clear();
    if (said.ok && !said.leaving.empty())
      remove(said.leaving, said.at_hand);
    return said;
  }
  /// Both orders, which have to succeed completely. If a slow machine answers too late, they are
  /// given again, as the broker does.
  void must_make() {
    bool readers = std::ranges::any_of(order.wanted, &wanted_role::read_only);
    auto rights = keep_rights({"", order.conn_url, order.superuser, order.owner.username, readers});
    REQUIRE_MESSAGE(rights.complete, rights.why);
    auto said = make();
    for (auto end = std::chrono::steady_clock::now() + patience;
         said.ok && was_late(said) && std::chrono::steady_clock::now() < end;)
      said = make();
    REQUIRE_MESSAGE(said.ok, said.why);
    for (const auto& [name, why] : said.unmade)
      FAIL(name << " was not made: " << why);
    for (const auto& [name, why] : lingering)
      FAIL(name << " lingers: " << why);
  }

  [[nodiscard]] bool was_late(const role_answer& said) const {
    auto is_late = [](const auto& one) {
      return one.second.find("took too long") != std::string::npos
             || one.second.find("lets nobody in to end") != std::string::npos;
    };
    return std::ranges::any_of(said.unmade, is_late) || std::ranges::any_of(lingering, is_late);
  }

  [[nodiscard]] client as(const std::string& name, const std::string& database = "db") const {
    return client{server, {name, "password of " + name}, database};
  }
  [[nodiscard]] client admin(const std::string& database = "db") const {
    return client{server, postgresql_server::superuser(), database};
  }
  [[nodiscard]] bool has(const std::string& role) const {
    return admin("postgres").ask("select count(*) from pg_roles where rolname = '" + role + "'")
           == "1";
  }
};

inline bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Waits until a replica is known to stream: it has reported its replay position to the leader.
inline void await_streaming(client& admin) {
  auto streams = [&] {
    return admin.ask("select count(*) from pg_stat_replication where state = 'streaming' and "
                     "replay_lsn is not null")
           == "1";
  };
  for (int looks = 0; looks < 1'000 && !streams(); ++looks)
    admin.ask("select pg_sleep(0.02)");
}

} // namespace matriarch::test
