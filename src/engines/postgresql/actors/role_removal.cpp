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
// Sessions look within milliseconds whether they are to end, unless they compute. What keeps one is
// to be known 5 s after its revocation was asked for, whatever came before this and whoever else
// waits to be removed: who is not gone by then is told of, and tried again.
constexpr auto longest_session_end = 1s;
constexpr auto shortest_pause = 3ms; // between two looks at something that takes milliseconds
constexpr auto longest_pause = 100ms;
constexpr auto longest_first_answer = 1s;
constexpr auto longest_replica_answer = 1s; // one that does not cannot be helped
// What an application does to its own database can hold up every new session there.
constexpr auto longest_database_connect = 2s;
constexpr auto longest_dropping = 5s;
// PostgreSQL's authentication_timeout on our nodes is 10 s, from when it has got the connection.
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

  /// Those in which the role was refused just now, if they still work.
  void go_on_in_sessions_at_hand() {
    auto* at_hand = dynamic_cast<open_sessions*>(order_.at_hand.get());
    if (at_hand == nullptr)
      return;
    auto& held = *at_hand;
    // One that has gone silent meanwhile leaves the time for a login.
    held.leader.until(clock::now() + longest_first_answer);
    if (end_earlier_orders(held.leader, kind()))
      return;
    held.leader.until(until_);
    leader_.emplace(std::move(held.leader));
    entered_ = std::move(held.replicas);
  }

  /// On the leader and on every replica that can be reached. On a replica also those that come yet:
  /// it lets the role in until it has replayed that it is refused.
  trouble end_all_sessions() {
    if (logins_.under_way()) {
      // They are told before anybody waits for a replica.
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

  /// A replica that follows the leader is alive, and has clients. One that does not follow it either
  /// may be away for ever.
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

  /// A replica that has not replayed that a role is refused lets in whoever began to log in before the
  /// router gave it no more connections, for as long as a login may take.
  trouble begun_on(const std::vector<replica>& replicas) const {
    auto open = std::ranges::any_of(replicas, [](const replica& one) { return !one.over; });
    if (!open || order_.asked_for > longest_login)
      return std::nullopt;
    return "a replica has not replayed yet that its login is refused, and logins that had begun "
           "there are"
           " waited for";
  }

  /// There may be many more that stay, and each is to be told of soon.
  std::map<std::string, std::string> what_keeps_others() {
    auto found = end_sessions(*leader_, order_.others);
    return found.ok() ? *found : std::map<std::string, std::string>{};
  }

  /// Whether a replica has no such session and lets none in; or cannot be asked, which is then told.
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

  /// The order that refused its login may have found the role locked by the role's own sessions.
  void refuse_login() {
    if (!std::exchange(tried_, true))
      (void)leader_->run("alter role " + leader_->identifier(order_.name) + " nologin");
  }

  /// Others' transactions can hold this up for as long as they last.
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

  /// A transaction that was prepared has no session to end. Those that the role itself owns, and
  /// those that changed the role: nobody else can.
  trouble roll_back_prepared() {
    auto found = leader_->run("select p.database, p.gid from pg_prepared_xacts p, pg_authid r"
                              " where r.rolname = "
                              + leader_->literal(order_.name)
                              + " and (p.owner = r.rolname or p.transaction = r.xmax"
                                // As the owner, whom it works as, it may have locked its own role.
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
  bool tried_ = false;                     ///< to make it `nologin`
  std::set<std::string> silent_;           ///< the replicas that could not be asked
};

} // namespace

actors::role_removal_answer remove_role(const actors::role_removal& order) {
  auto said = role_remover{order}.remove();
  said.kept_out = said.kept_out || lacks_locks(said.why);
  return said;
}

} // namespace matriarch::engines::postgresql
