#include "engines/postgresql/actors/role_removal.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include <spdlog/spdlog.h>

#include "base/utf8.hpp"
#include "engines/postgresql/actors/binding_roles.hpp"
#include "engines/postgresql/actors/hand_over.hpp"
#include "engines/postgresql/actors/replica_logins.hpp"
#include "engines/postgresql/actors/session_ends.hpp"
#include "engines/postgresql/model/groups.hpp"

namespace matriarch::engines::postgresql {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using trouble = std::optional<std::string>;

constexpr auto longest_order = 15s;
// A session checks for its end within milliseconds, unless it is computing. Whatever keeps a
// session must be known 5 s after the revocation was requested, even if other removals wait: the
// session is reported then, and the removal is tried again.
constexpr auto longest_session_end = 1s;
constexpr auto shortest_pause = 3ms; // between two looks at something that takes milliseconds
constexpr auto longest_pause = 100ms;
constexpr auto longest_first_answer = 1s;
constexpr auto longest_replica_answer = 1s; // a replica that does not answer is given up
// An application can hold up every new session in its own database.
constexpr auto longest_database_connect = 2s;
constexpr auto longest_dropping = 5s;
// authentication_timeout on Matriarch's nodes is 10 s, counted from the connection's start at
// PostgreSQL.
constexpr auto longest_login = 12s;

class role_remover {
public:
  explicit role_remover(const actors::role_removal& order)
      : order_(order), until_(clock::now() + longest_order) {}

  actors::role_removal_answer remove() {
    go_on_in_sessions_at_hand();
    auto to_enter = order_.replicas;
    std::erase_if(to_enter, [this](const auto& one) { return entered_.contains(one.first); });
    logins_.begin(to_enter, order_.superuser, {order_.name});
    if (!leader_) {
      auto begun =
          begin_order(order_.conn_url, order_.superuser, order_.owner.username, kind(), until_);
      if (!begun.ok())
        return {false, begun.error(), {}, true, {}};
      leader_.emplace(std::move(begun->leader));
      if (!begun->found.contains(order_.name))
        return {true};
    }
    if (auto wrong = end_all_sessions())
      return {false, *wrong, what_keeps_others(), false, silent_};
    if (order_.name == order_.owner.username)
      return {true};
    if (auto wrong = drop())
      return {false, *wrong};
    return {true};
  }

private:
  struct replica {
    std::string name;
    session on;
    bool over = false;
  };

  [[nodiscard]] std::string kind() const { return "removal " + order_.name; }

  /// Continues in the sessions of the order that refused the role, if they still work.
  void go_on_in_sessions_at_hand() {
    auto* at_hand = dynamic_cast<open_sessions*>(order_.at_hand.get());
    if (at_hand == nullptr)
      return;
    auto& held = *at_hand;
    // If the session does not answer, there is time left for a new login.
    held.leader.until(clock::now() + longest_first_answer);
    if (end_earlier_orders(held.leader, kind()))
      return;
    held.leader.until(until_);
    leader_.emplace(std::move(held.leader));
    entered_ = std::move(held.replicas);
  }

  /// Ends the role's sessions on the leader and on every reachable replica. On a replica also later
  /// sessions, since it lets the role in until it has replayed the revocation.
  trouble end_all_sessions() {
    if (logins_.under_way()) {
      // The leader's sessions are told to end before any wait for replicas.
      if (auto told = end_sessions(*leader_, {order_.name}); !told.ok())
        return told.error();
      entered_.merge(logins_.finish(silent_));
    }
    std::vector<replica> replicas;
    for (auto& [name, on] : entered_)
      replicas.push_back({name, std::move(on)});
    auto end = clock::now() + longest_session_end;
    for (auto& one : replicas)
      one.on.until(end + longest_replica_answer);
    auto pause = std::chrono::milliseconds{shortest_pause};
    while (true) {
      auto open = end_sessions(*leader_, {order_.name});
      if (!open.ok())
        return open.error();
      if (open->empty())
        refuse_login();
      auto left = open->empty() ? trouble{} : trouble{open->begin()->second};
      bool all_over = !left;
      for (auto& one : replicas) {
        if (!one.over)
          one.over = is_over(one, left);
        all_over &= one.over;
      }
      if (all_over || clock::now() > end)
        return left ? left : unseen() ? unseen() : begun_on(replicas);
      std::this_thread::sleep_for(pause);
      pause = std::min<std::chrono::milliseconds>(pause * 2, longest_pause);
    }
  }

  /// Whether a silent replica counts. A replica that streams from the leader is alive and has
  /// clients. One that does not may be away for ever, so it is ignored.
  trouble unseen() {
    if (silent_.empty())
      return std::nullopt;
    auto alive = leader_->run("select application_name from pg_stat_replication where state ="
                              " 'streaming' and application_name in ("
                              + literals(*leader_, silent_) + ")");
    if (!alive.ok())
      return alive.error();
    if (PQntuples(alive->get()) == 0)
      return std::nullopt;
    return "a replica that follows the leader lets nobody in to end its sessions there";
  }

  /// Whether logins may be under way at a replica that has not replayed the revocation. A client
  /// that began to log in before the router stopped giving the replica connections may get in, for
  /// as long as a login can take.
  trouble begun_on(const std::vector<replica>& replicas) const {
    auto open = std::ranges::any_of(replicas, [](const replica& one) { return !one.over; });
    if (!open || order_.asked_for > longest_login)
      return std::nullopt;
    return "a replica has not replayed yet that its login is refused, and logins that had begun "
           "there are"
           " waited for";
  }

  /// What keeps the other roles' sessions. There may be many such roles, and each should be
  /// reported soon.
  std::map<std::string, std::string> what_keeps_others() {
    auto found = end_sessions(*leader_, order_.others);
    return found.ok() ? *found : std::map<std::string, std::string>{};
  }

  /// Whether a replica has no session of the role and will let none in. A replica that cannot be
  /// asked counts as done, and is reported.
  bool is_over(replica& one, trouble& left) {
    auto open = end_sessions(one.on, {order_.name});
    if (!open.ok()) {
      spdlog::warn("the replica {} may still have sessions of a revoked role: {}", one.name,
                   open.error());
      silent_.insert(one.name);
      return true;
    }
    if (!open->empty()) {
      if (!left)
        left = "on a replica, " + open->begin()->second;
      return false;
    }
    auto knows = one.on.run("select count(*) from pg_authid r where r.rolcanlogin and r.rolname = "
                            + one.on.literal(order_.name)
                            + " and not exists (select from pg_auth_members m join pg_authid g on"
                              " g.oid = m.roleid where m.member = r.oid and g.rolname = "
                            + one.on.literal(revoked_role(order_.owner.username)) + ")");
    if (!knows.ok())
      silent_.insert(one.name);
    return !knows.ok() || text_at(*knows, 0, 0) == "0";
  }

  /// Sets `nologin` once more: the earlier order may have found the role locked by its own
  /// sessions.
  void refuse_login() {
    if (!std::exchange(tried_, true))
      (void)leader_->run("alter role " + leader_->identifier(order_.name) + " nologin");
  }

  /// Drops the role. Other sessions' transactions can hold this up for as long as they last.
  trouble drop() {
    const auto& name = order_.name;
    auto end = clock::now() + longest_dropping;
    if (auto wrong = roll_back_prepared())
      return wrong;
    auto where = leader_->run(
        "select distinct coalesce(b.datname, current_database()) from pg_shdepend d"
        " join pg_authid r on r.oid = d.refobjid left join pg_database b on b.oid = d.dbid"
        " where d.refclassid = 'pg_authid'::regclass and r.rolname = "
        + leader_->literal(name));
    if (!where.ok())
      return where.error();
    for (int i = 0; i < PQntuples(where->get()); ++i) {
      auto database = open(text_at(*where, i, 0));
      if (!database.ok())
        return database.error();
      if (auto wrong = hand_over(*database, name, order_.owner.username, end))
        return wrong;
    }
    auto gone = leader_->run("drop role if exists " + leader_->identifier(name));
    if (gone.ok())
      return std::nullopt;
    return leader_->was_locked_out() ? locked_by_others : gone.error();
  }

  /// Rolls back prepared transactions, which have no session to end: those of the role itself, and
  /// those that changed the role.
  trouble roll_back_prepared() {
    auto found = leader_->run("select p.database, p.gid from pg_prepared_xacts p, pg_authid r"
                              " where r.rolname = "
                              + leader_->literal(order_.name)
                              + " and (p.owner = r.rolname or p.transaction = r.xmax"
                                // The role works as the owner, and may have locked its own role in
                                // such a transaction.
                                " or exists (select from pg_locks l join pg_locks own"
                                "  using (virtualtransaction) where l.pid is null"
                                "  and l.classid = 'pg_authid'::regclass and l.objid = r.oid"
                                "  and own.pid is null and own.transactionid = p.transaction)"
                                " or exists (select from pg_db_role_setting s"
                                "  where s.setrole = r.oid and s.xmax = p.transaction))");
    if (!found.ok())
      return found.error();
    for (int i = 0; i < PQntuples(found->get()); ++i) {
      auto database = open(text_at(*found, i, 0));
      if (!database.ok())
        return database.error();
      if (auto done =
              database->run("rollback prepared " + database->literal(text_at(*found, i, 1)));
          !done.ok())
        return done.error();
    }
    return std::nullopt;
  }

  result<session> open(const std::string& database) {
    auto opened =
        session::open(order_.conn_url, order_.superuser,
                      std::min(until_, clock::now() + longest_database_connect), database);
    if (!opened.ok())
      return failure{"the database " + matriarch::quoted(database)
                     + " lets no session in: " + opened.error()};
    opened->until(until_);
    return opened;
  }

  const actors::role_removal& order_;
  deadline until_;
  std::optional<session> leader_;
  replica_logins logins_;
  std::map<std::string, session> entered_; ///< the replicas, by node id
  bool tried_ = false;                     ///< to set `nologin`
  std::set<std::string> silent_;           ///< replicas that could not be asked
};

} // namespace

actors::role_removal_answer remove_role(const actors::role_removal& order) {
  auto said = role_remover{order}.remove();
  said.kept_out = said.kept_out || lacks_locks(said.why);
  return said;
}

} // namespace matriarch::engines::postgresql
