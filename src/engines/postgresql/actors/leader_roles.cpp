#include "engines/postgresql/actors/leader_roles.hpp"

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "base/times.hpp"
#include "base/utf8.hpp"
#include "engines/postgresql/actors/binding_roles.hpp"
#include "engines/postgresql/actors/login_check.hpp"
#include "engines/postgresql/actors/reader_rights.hpp"
#include "engines/postgresql/actors/replica_logins.hpp"
#include "engines/postgresql/actors/session.hpp"
#include "engines/postgresql/model/groups.hpp"

namespace matriarch::engines::postgresql {

namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using trouble = std::optional<std::string>;

// Role changes take milliseconds, logins somewhat more.
constexpr auto longest_order = 8s;
// A role that its own session has locked costs lock_timeout. This bounds how long other roles wait
// for such roles.
constexpr auto longest_locked = 1s;
// A login takes milliseconds. If the application's database keeps it waiting, others wait, too.
constexpr auto longest_logins = 3s;
constexpr auto longest_ending = 1s; // for the ends of test logins' sessions
constexpr auto longest_logins_beside_revocation =
    1s; // the obstacles to a revocation must be known soon
// A replica that does not replay within this time may be away for long, and the answer says so. A
// replica without a revocation one second after the request must be kept from clients.
constexpr auto longest_replay = 2s;
constexpr auto longest_replay_of_revocation = 600ms;
// A replica whose replay stands still for this long is held up, for example by a query.
constexpr auto longest_standstill = 1s;
constexpr auto short_pause = 3ms; // between two looks at something that takes milliseconds

/// A change of one role.
struct role_change {
  std::string name;
  std::string script;
};

/// The work of one order, as statements.
class role_maker {
public:
  role_maker(const actors::role_order& order, known_passwords& passwords)
      : order_(order), passwords_(passwords), until_(clock::now() + longest_order),
        readers_(readers_role(order.owner.username)), revoked_(revoked_role(order.owner.username)) {
  }

  actors::role_answer make() {
    logins_.begin(order_.replicas, order_.superuser,
                  {order_.revoked.begin(), order_.revoked.end()});
    auto answer = follow_order();
    if (answer.ok && revokes_) {
      // Later orders of this kind must not end this session as one of theirs.
      (void)leader_->run("set application_name = 'matriarch'");
      std::set<std::string> silent; // not needed: the removal finds out itself
      answer.at_hand = std::make_shared<open_sessions>(std::move(*leader_), logins_.finish(silent));
    }
    return answer;
  }

private:
  actors::role_answer follow_order() {
    for (const auto& one : order_.wanted)
      if (auto wrong = fault_of(one.who))
        return {false, *wrong};
    auto begun =
        begin_order(order_.conn_url, order_.superuser, order_.owner.username, "roles", until_);
    if (!begun.ok()) {
      actors::role_answer answer{false, begun.error()};
      answer.kept_out = true;
      return answer;
    }
    leader_.emplace(std::move(begun->leader));
    found_ = std::move(begun->found);
    if (!found_.contains(order_.owner.username))
      return {false, "the instance's application user does not exist yet"};
    auto logins = refuse_memberships();
    refuse_logins_at_once(logins);
    if (revokes_) {
      // Neither another binding's login test nor anything locked may delay keeping clients from
      // such a replica.
      auto said = await_replay();
      if (!said.ok || said.replayed < said.replicas) {
        said.cut_short = said.ok;
        return said;
      }
    }
    refuse_logins(logins);
    if (auto wrong = make_wanted())
      return {false, *wrong};
    check_logins();
    auto said = revokes_ && !changed_ ? answer_ : await_replay();
    await_ends(said);
    return said;
  }

  static trouble fault_of(const model::credentials& who) {
    if (who.username.empty() || who.username.size() > longest_identifier)
      return "a role's name has to have 1 to 63 bytes: " + matriarch::quoted(who.username);
    if (who.username.find('\0') != std::string::npos
        || who.password.find('\0') != std::string::npos)
      return "a role's name and password must not hold a zero byte";
    return std::nullopt;
  }

  [[nodiscard]] std::string id(const std::string& name) const { return leader_->identifier(name); }

  [[nodiscard]] bool is_wanted(const std::string& name) const {
    return std::ranges::any_of(order_.wanted,
                               [&](const auto& one) { return one.who.username == name; });
  }

  [[nodiscard]] bool hurried() const { return order_.hurry && order_.hurry->load(); }

  [[nodiscard]] bool may_go(const std::string& name) const {
    return !order_.later.contains(name)
           && (!order_.some_unknown
               || std::ranges::find(order_.revoked, name) != order_.revoked.end());
  }

  /// The owner logs in if a binding shares it; an unreadable binding may be one of these.
  [[nodiscard]] bool owner_logs_in() const {
    auto there = found_.find(order_.owner.username);
    return order_.owner_logs_in
           || (order_.some_unknown && there != found_.end() && there->second.logs_in);
  }

  // -- roles that leave

  /// Revokes by pg_hba.conf first (membership in its group), which no session can hold up. Returns
  /// the remaining changes.
  std::vector<role_change> refuse_memberships() {
    std::vector<role_change> memberships;
    std::vector<role_change> logins;
    for (const auto& [name, role] : found_) {
      if (!role.marked || is_wanted(name) || !may_go(name))
        continue;
      answer_.leaving[name];
      if (role.in_revoked)
        continue;
      memberships.push_back({name, "grant " + id(revoked_) + " to " + id(name) + ";"});
      if (role.logs_in)
        logins.push_back({name, "alter role " + id(name) + " nologin;"});
    }
    revokes_ = !memberships.empty();
    if (revokes_ && !found_.contains(revoked_))
      (void)leader_->run("create role " + id(revoked_) + " nologin");
    for (const auto& [name, why] : run_all(memberships))
      answer_.leaving[name] = why;
    return logins;
  }

  /// Also sets `nologin`, for nodes with a pg_hba.conf of an earlier release. If no role is locked,
  /// replicas are waited for only once.
  void refuse_logins_at_once(std::vector<role_change>& logins) {
    std::string all = "set local lock_timeout = '10ms';";
    for (const auto& one : logins)
      all += one.script;
    if (!logins.empty() && leader_->run(all).ok())
      logins.clear();
  }

  /// Sets `nologin` for the other roles once their sessions have been told to end. Roles that stay
  /// locked are left to the removal.
  void refuse_logins(std::vector<role_change> logins) {
    close_owner(logins);
    changed_ = !logins.empty();
    if (!logins.empty())
      (void)leader_->run("select pg_terminate_backend(a.pid) from pg_stat_activity a join pg_authid"
                         " r on r.oid = a.usesysid where r.rolname in ("
                         + names_in(logins) + ")");
    (void)run_all(logins, true);
  }

  [[nodiscard]] std::string names_in(const std::vector<role_change>& changes) const {
    std::set<std::string> names;
    for (const auto& one : changes)
      names.insert(one.name);
    return literals(*leader_, names);
  }

  /// All bindings' roles are members of the owner, so the owner cannot be put into the refused
  /// group.
  void close_owner(std::vector<role_change>& logins) {
    const auto& name = order_.owner.username;
    const auto& owner = found_[name];
    if (owner_logs_in() || !(owner.logs_in || owner.has_sessions))
      return;
    answer_.leaving[name];
    if (owner.logs_in)
      logins.push_back({name, "alter role " + id(name) + " nologin;"});
  }

  // -- roles that stay

  trouble make_wanted() {
    // Bindings that share the owner keep access to other databases.
    auto closed = order_.wanted.empty() ? result<std::string>{""} : close_other_databases();
    if (!closed.ok())
      return closed.error();
    if (!closed->empty())
      if (auto done = leader_->run(*closed); !done.ok())
        return done.error();
    std::vector<role_change> changes;
    if (auto wrong = change_of_owner(changes))
      return wrong;
    bool reading = std::ranges::any_of(order_.wanted, &actors::wanted_role::read_only);
    if (reading && !found_.contains(readers_))
      (void)leader_->run("create role " + id(readers_) + " nologin");
    if (reading) {
      auto limit = leader_->run("select current_setting('temp_file_limit')");
      if (!limit.ok())
        return limit.error();
      bounds_temporary_files_ = text_at(*limit, 0, 0) == "-1";
    }
    for (const auto& one : order_.wanted)
      if (!answer_.unmade.contains(one.who.username))
        if (auto wrong = change_of(one, changes))
          answer_.unmade[one.who.username] = *wrong;
    // New roles first: clients are waiting for them.
    std::ranges::stable_partition(changes,
                                  [&](const auto& one) { return !found_.contains(one.name); });
    changed_ = changed_ || !closed->empty() || !changes.empty();
    answer_.unmade.merge(run_all(changes, true));
    return std::nullopt;
  }

  /// Runs all changes in one transaction, or each in its own if that fails. Returns the roles that
  /// could not be changed, and why.
  std::map<std::string, std::string> run_all(const std::vector<role_change>& changes,
                                             bool may_be_hurried = false) {
    std::map<std::string, std::string> failed;
    std::string all;
    for (const auto& one : changes)
      all += one.script;
    if (all.empty() || leader_->run(all).ok())
      return failed;
    auto end = clock::now() + longest_locked;
    for (const auto& one : changes)
      if (clock::now() > end || (may_be_hurried && hurried()))
        failed[one.name] = "other roles took the time; it is tried again";
      else if (auto done = leader_->run(one.script); !done.ok())
        failed[one.name] = done.error();
    return failed;
  }

  /// Tests the logins of roles that bindings wait for and that exist now.
  void check_logins() {
    auto end = std::min(
        until_, clock::now() + (revokes_ ? longest_logins_beside_revocation : longest_logins));
    auto all = order_.wanted;
    if (order_.owner_is_fresh)
      all.push_back({.who = order_.owner, .fresh = true});
    for (const auto& one : all) {
      const auto& name = one.who.username;
      if (!one.fresh || answer_.unmade.contains(name))
        continue;
      changed_ = true; // the test may take back whatever locks the role out
      if (hurried() || clock::now() > end) {
        answer_.unmade[name] = "logins took too long; it is tried again";
        answer_.late.insert(name);
      } else if (auto wrong = fault_of_login(*leader_, order_, one, end, ending_[name])) {
        answer_.unmade[name] = wrong->words;
        if (wrong->only_late)
          answer_.late.insert(name);
      }
    }
  }

  /// Waits for the end of the test sessions. A session counts against its role's connection limit
  /// until its process is gone, which must happen before a client learns of the role.
  void await_ends(actors::role_answer& said) {
    auto end = std::min(until_, clock::now() + longest_ending);
    for (const auto& [name, processes] : ending_)
      for (int process : processes)
        if (auto wrong = await_end(*leader_, process, end); wrong && said.ok)
          said.unmade.emplace(name, *wrong);
  }

  /// Confines applications to their own database: in another one they could fill the disk
  /// unnoticed. An operator who makes a database for applications must grant them the right to
  /// connect.
  result<std::string> close_other_databases() {
    auto found = leader_->run("select datname from pg_database where datallowconn and datname <> "
                              + leader_->literal(model::application_database)
                              + " and (has_database_privilege('public', oid, 'connect')"
                                " or has_database_privilege('public', oid, 'temporary'))");
    if (!found.ok())
      return failure{found.error()};
    std::string script;
    for (int i = 0; i < PQntuples(found->get()); ++i)
      script +=
          "revoke connect, temporary on database " + id(text_at(*found, i, 0)) + " from public;";
    return script;
  }

  /// Restores the owner's password: any application may have changed it, since applications work as
  /// the owner.
  trouble change_of_owner(std::vector<role_change>& changes) {
    const auto& there = found_[order_.owner.username];
    const auto& [name, password] = order_.owner;
    bool right = passwords_.match(there.verifier, password);
    if (!owner_logs_in() || (there.logs_in && right))
      return std::nullopt;
    auto text = "alter role " + id(name) + " login";
    if (!right) {
      auto verifier = leader_->verifier(name, password);
      if (!verifier.ok())
        return verifier.error();
      text += " password " + leader_->literal(*verifier);
    }
    changes.push_back({name, text + ";"});
    return std::nullopt;
  }

  trouble change_of(const actors::wanted_role& wanted, std::vector<role_change>& changes) {
    const auto& name = wanted.who.username;
    auto found = found_.find(name);
    bool exists = found != found_.end();
    auto there = exists ? found->second : found_role{};
    if (exists && !there.marked)
      return "a role " + matriarch::quoted(name) + " exists that is no binding's";
    auto until = wanted.valid_until ? base::text_of(*wanted.valid_until) : std::string{};
    bool same_password = exists && passwords_.match(there.verifier, wanted.who.password);
    bool same_work = wanted.read_only ? there.in_readers && there.reads_only
                                      : there.in_owner && there.becomes_owner;
    if (same_password && there.logs_in && there.connection_limit == wanted.connection_limit
        && there.valid_until == until && same_work && !there.in_revoked)
      return std::nullopt; // other settings of the role may be the application's own
    auto text = (exists ? "alter role " : "create role ") + id(name)
                + " login nosuperuser nocreatedb nocreaterole noreplication"
                // Readers read everything, also rows that policies hide from others.
                + (wanted.read_only ? " bypassrls" : "") + " connection limit "
                + std::to_string(wanted.connection_limit) + " valid until "
                + leader_->literal(until.empty() ? "infinity" : until);
    if (!same_password) {
      auto verifier = leader_->verifier(name, wanted.who.password);
      if (!verifier.ok())
        return verifier.error();
      text += " password " + leader_->literal(*verifier);
    }
    if (there.in_revoked)
      text += ";revoke " + id(revoked_) + " from " + id(name);
    if (exists)
      text +=
          ";delete from pg_db_role_setting where setdatabase = 0 and pg_column_size(setconfig) > "
          + std::to_string(longest_settings)
          + " and setrole = (select oid from pg_authid where rolname = " + leader_->literal(name)
          + ")";
    text +=
        ";alter role " + id(name)
        + " set "
        // Readers would otherwise inherit a `role` that is set for the whole database.
        + (wanted.read_only
               ? "default_transaction_read_only = on;alter role " + id(name) + " set role = none"
               : "role = " + leader_->literal(order_.owner.username))
        + (wanted.read_only && bounds_temporary_files_
               ? ";alter role " + id(name)
                     + " set temp_file_limit = " + leader_->literal(reader_temporary_files)
               : "")
        + ";grant " + id(wanted.read_only ? readers_ : order_.owner.username) + " to " + id(name)
        + ";comment on role " + id(name) + " is " + leader_->literal(binding_mark) + ";";
    changes.push_back({name, text});
    return std::nullopt;
  }

  // -- the replicas

  /// Waits until each streaming replica has replayed all committed changes, the time is up, or
  /// nothing moves any more. A replica reports its position with each piece of WAL that it gets,
  /// and when it has replayed everything.
  actors::role_answer await_replay() {
    auto position = leader_->run("select pg_current_wal_lsn()");
    if (!position.ok())
      return {false, position.error()};
    auto question =
        "select application_name, replay_lsn >= " + leader_->literal(text_at(*position, 0, 0))
        + ", replay_lsn from pg_stat_replication where state = 'streaming'"
          " and replay_lsn is not null order by pid";
    auto end = clock::now() + (revokes_ ? longest_replay_of_revocation : longest_replay);
    auto moved_at = clock::now();
    std::string where;
    while (true) {
      auto came = leader_->run(question);
      if (!came.ok())
        return {false, came.error()};
      answer_.ok = true;
      answer_.replicas = PQntuples(came->get());
      answer_.replayed = 0;
      answer_.caught_up.clear();
      std::string now_at;
      for (int i = 0; i < answer_.replicas; ++i) {
        now_at += text_at(*came, i, 2) + " ";
        if (text_at(*came, i, 1) != "t")
          continue;
        ++answer_.replayed;
        answer_.caught_up.insert(words_at(*came, i, 0));
      }
      auto now = clock::now();
      if (now_at != std::exchange(where, now_at))
        moved_at = now;
      if (answer_.replayed == answer_.replicas || hurried() || now > end
          || now > moved_at + longest_standstill)
        return answer_;
      std::this_thread::sleep_for(short_pause);
    }
  }

  const actors::role_order& order_;
  known_passwords& passwords_;
  deadline until_;
  std::string readers_;
  std::string revoked_;
  std::optional<session> leader_;
  replica_logins logins_;
  found_roles found_;
  bool bounds_temporary_files_ =
      false;             ///< sets temp_file_limit for readers, since the plan does not
  bool revokes_ = false; ///< some role's login was not refused before
  bool changed_ = false; ///< something has changed since the last wait for replicas
  std::map<std::string, std::vector<int>> ending_; ///< processes of test logins, by role
  actors::role_answer answer_;
};

} // namespace

actors::role_answer make_roles(const actors::role_order& order, known_passwords& passwords) {
  auto said = role_maker{order, passwords}.make();
  said.kept_out =
      said.kept_out || lacks_locks(said.why)
      || std::ranges::any_of(said.leaving, [](const auto& one) { return lacks_locks(one.second); });
  return said;
}

} // namespace matriarch::engines::postgresql
