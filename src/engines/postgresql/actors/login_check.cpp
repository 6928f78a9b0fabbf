#include "engines/postgresql/actors/login_check.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include <spdlog/spdlog.h>

#include "base/utf8.hpp"
#include "engines/postgresql/actors/binding_roles.hpp"

namespace matriarch::engines::postgresql {

namespace {

using trouble = std::optional<std::string>;
using clock = std::chrono::steady_clock;

// A database may have any number of settings. Up to this many are tried one by one, each by a
// login.
constexpr int most_tried = 20;
// A login takes milliseconds. If one hangs, there is time left to find the obstacle; if no obstacle
// is found, the machine may be busy, and a second login gets the rest of the time.
constexpr auto longest_login = std::chrono::seconds{1};
// The end of a session takes about as long.
constexpr auto between_looks = std::chrono::milliseconds{2};

/// A setting that applies to every session of the database, and PostgreSQL's own value.
struct setting {
  std::string name;
  std::string usual;
};

class login_check {
public:
  login_check(session& leader, const actors::role_order& order, const actors::wanted_role& wanted,
              deadline until, std::vector<int>& ending)
      : leader_(leader), order_(order), wanted_(wanted), until_(until), ending_(ending) {}

  std::optional<login_fault> run() {
    auto found = look();
    return found ? std::optional{login_fault{*found, only_late_}} : std::nullopt;
  }

private:
  trouble look() {
    auto wrong = log_in(in_short_time());
    if (!wrong)
      return wrong;
    bool hung = clock::now() >= std::min(begun_ + longest_login, until_);
    auto not_yet = "a login with its credentials does not work yet: " + *wrong;
    if (order_.hurry && order_.hurry->load()) {
      only_late_ = true;
      return not_yet; // the order after the urgent one will find the reason
    }
    if (auto locked = unlock())
      return locked->empty() ? log_in(in_short_time()) : locked;
    if (auto holder = find_lock())
      return holder;
    if (auto culprit = find_setting())
      return culprit;
    if (auto culprit = find_many())
      return culprit;
    if (hung && !log_in(until_))
      return std::nullopt;
    only_late_ = hung;
    return not_yet;
  }

  [[nodiscard]] deadline in_short_time() const {
    return std::min(until_, clock::now() + longest_login);
  }

  [[nodiscard]] trouble log_in(deadline end, const std::string& options = {}) const {
    auto opened = session::open_as_application(
        order_.conn_url, wanted_.who, model::application_database, end, order_.hurry, options);
    if (!opened.ok())
      return opened.error();
    // Calls no function or operator, since the database may define its own.
    auto came = opened->run("select current_user");
    if (!came.ok())
      return came.error();
    auto worker = text_at(*came, 0, 0);
    const auto& expected = wanted_.read_only ? wanted_.who.username : order_.owner.username;
    if (worker != expected)
      return "its sessions work as " + matriarch::quoted(worker) + ", not as "
             + matriarch::quoted(expected);
    ending_.push_back(opened->process());
    session{std::move(*opened)}; // its end
    return std::nullopt;
  }

  /// Undoes what a database's owner can lock: its connection limit, and who may connect.
  trouble unlock() {
    auto database = leader_.literal(model::application_database);
    auto found =
        leader_.run("select d.datconnlimit, d.datallowconn,"
                    " has_database_privilege("
                    + leader_.literal(wanted_.who.username)
                    + ", d.oid, 'connect') from pg_database d where d.datname = " + database);
    if (!found.ok())
      return found.error();
    if (PQntuples(found->get()) == 0)
      return "there is no database " + std::string{model::application_database} + " any more";
    auto name = leader_.identifier(model::application_database);
    std::string script;
    if (text_at(*found, 0, 0) == "0")
      script += "alter database " + name + " connection limit -1;";
    if (text_at(*found, 0, 1) != "t")
      script += "alter database " + name + " allow_connections true;";
    if (text_at(*found, 0, 2) != "t")
      script += "grant connect on database " + name + " to "
                + leader_.identifier(order_.owner.username) + ","
                + leader_.identifier(wanted_.who.username) + ";";
    if (script.empty())
      return std::nullopt;
    spdlog::info("instance {}: its database lets nobody in; this is corrected", order_.instance);
    auto done = leader_.run(script);
    return done.ok() ? "" : done.error();
  }

  /// Every login reads its database's system catalog, whose owner may rewrite it (VACUUM FULL,
  /// REINDEX). Such a rewrite waits for every transaction that has read there, and all later logins
  /// wait for the rewrite.
  [[nodiscard]] trouble find_lock() const {
    constexpr std::string_view first_of_applications = "16384"; // FirstNormalObjectId
    auto found = leader_.run(
        "select l.pid, a.usename, (select min(b) from unnest(pg_blocking_pids(l.pid)) b)"
        " from pg_locks l join pg_stat_activity a on a.pid = l.pid"
        " where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock' and l.relation < "
        + std::string{first_of_applications}
        + " and l.database = (select oid from pg_database"
          " where datname = "
        + leader_.literal(model::application_database) + ") order by l.granted, l.pid limit 1");
    if (!found.ok() || PQntuples(found->get()) == 0)
      return std::nullopt;
    auto text = "the session " + words_at(*found, 0, 0) + " of "
                + matriarch::quoted(text_at(*found, 0, 1))
                + " rewrites a system table that every new session of the database "
                + model::application_database + " waits for";
    auto blocker = words_at(*found, 0, 2);
    if (!blocker.empty())
      text += "; that session waits for the end of the transaction of the session " + blocker;
    return text;
  }

  /// Finds the setting without which a login works.
  [[nodiscard]] trouble find_setting() const {
    auto found = leader_.run(
        "select distinct left(split_part(s, '=', 1), 200), p.boot_val from pg_db_role_setting"
        " cross join lateral unnest(case when pg_column_size(setconfig) <= "
        + std::to_string(longest_settings)
        + " then setconfig end) s left join pg_settings p"
          " on p.name = split_part(s, '=', 1) where setdatabase in (0, (select"
          " oid from pg_database where datname = "
        + leader_.literal(model::application_database)
        + ")) and setrole in (0, (select oid from pg_roles where rolname = "
        + leader_.literal(wanted_.who.username)
        // Matriarch's own settings.
        + ")) and not (setrole <> 0 and setdatabase = 0 and split_part(s, '=', 1)"
          " in ('role', 'default_transaction_read_only')) limit "
        + std::to_string(most_tried));
    if (!found.ok())
      return std::nullopt;
    std::vector<setting> made;
    for (int i = 0; i < std::min(PQntuples(found->get()), most_tried); ++i)
      made.push_back({words_at(*found, i, 0), words_at(*found, i, 1)});
    for (const auto& one : made)
      if (!log_in(in_short_time(), without(one)))
        return "the setting " + one.name + " of the database " + model::application_database
               + " keeps every new session from working; undo it with: alter"
                 " database "
               + model::application_database + " reset " + one.name
               + " (a session that begins with the option " + without(one) + " is let in)";
    std::string all;
    std::string names;
    for (const auto& one : made) {
      all += (all.empty() ? "" : " ") + without(one);
      names += (names.empty() ? "" : ", ") + one.name;
    }
    if (made.size() > 1 && !log_in(in_short_time(), all))
      return "the settings of the database " + std::string{model::application_database}
             + " keep every new session from working; some of these have to be taken back: "
             + names;
    return std::nullopt;
  }

  /// Finds settings so long that reading them takes too long for a session.
  [[nodiscard]] trouble find_many() const {
    auto database = std::string{model::application_database};
    auto found =
        leader_.run("select from pg_db_role_setting where setrole = 0 and setdatabase = (select"
                    " oid from pg_database where datname = "
                    + leader_.literal(database) + ") and pg_column_size(setconfig) > "
                    + std::to_string(longest_settings));
    if (!found.ok() || PQntuples(found->get()) == 0)
      return std::nullopt;
    return "the settings of the database " + database
           + " are too long for a session to begin with; undo them with: "
             "alter"
             " database "
           + database + " reset all";
  }

  /// As options of a session, where blanks separate and must be escaped.
  [[nodiscard]] static std::string without(const setting& one) {
    std::string option = "-c " + one.name + "=";
    for (char c : one.usual) {
      if (c == ' ' || c == '\\')
        option += '\\';
      option += c;
    }
    return option;
  }

  session& leader_;
  const actors::role_order& order_;
  const actors::wanted_role& wanted_;
  deadline until_;
  std::vector<int>& ending_;
  deadline begun_ = clock::now();
  bool only_late_ = false;
};

} // namespace

std::optional<login_fault> fault_of_login(session& leader, const actors::role_order& order,
                                          const actors::wanted_role& wanted, deadline until,
                                          std::vector<int>& ending) {
  return login_check{leader, order, wanted, until, ending}.run();
}

trouble await_end(session& leader, int process, deadline until) {
  auto number = std::to_string(process);
  while (true) {
    auto gone = leader.run("select pg_terminate_backend(" + number
                           + ", 100) where not exists (select from pg_stat_activity where pid = "
                           + number + ")");
    if (!gone.ok())
      return gone.error();
    if (PQntuples(gone->get()) > 0)
      return std::nullopt;
    if (clock::now() > until)
      return "the session that tried it does not end";
    std::this_thread::sleep_for(between_looks);
  }
}

} // namespace matriarch::engines::postgresql
