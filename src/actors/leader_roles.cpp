#include "actors/leader_roles.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include <spdlog/spdlog.h>

#include "actors/postgresql.hpp"
#include "model/names.hpp"
#include "model/times.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
using postgresql::rows;
using postgresql::session;
using postgresql::text_at;

/// What tells our roles from those that somebody made by hand; only a superuser can set it.
constexpr const char* mark = "matriarch binding";
// Role changes take milliseconds, unless sessions hold locks on what a leaving role owns.
constexpr auto longest_order = 15s;
// What waits for a lock holds up everybody who comes after it: an application's long transaction may
// delay the end of a role, not the work of the other applications.
constexpr const char* longest_lock = "200ms";
// Of an order's time; the rest is for what others wait for.
constexpr auto longest_dropping = 5s;
// A replica that does not replay within this time may be away for long: the answer says so.
constexpr auto longest_replay = 2s;
// PostgreSQL cuts longer names, silently.
constexpr std::size_t longest_identifier = 63;
constexpr auto short_pause = 3ms; // between two looks at something that takes milliseconds
// Sessions that are told to end do so at their next look, unless they are in a long system call.
constexpr auto longest_session_end = 5s;

// -- SCRAM (RFC 5802, 7677), as far as it takes to check a verifier --------------------------------

using digest = std::array<unsigned char, 32>; // SHA-256

std::optional<std::vector<unsigned char>> from_base64(std::string_view text) {
  std::vector<unsigned char> bytes(text.size() / 4 * 3 + 3);
  int size = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(text.data()),
                             static_cast<int>(text.size()));
  if (size < 0)
    return std::nullopt;
  auto padding = std::count(text.begin(), text.end(), '=');
  bytes.resize(static_cast<std::size_t>(size - padding));
  return bytes;
}

/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`: whether it is that password's.
bool is_verifier_of(std::string_view verifier, const std::string& password) {
  constexpr std::string_view method = "SCRAM-SHA-256$";
  if (!verifier.starts_with(method))
    return false;
  verifier.remove_prefix(method.size());
  auto colon = verifier.find(':');
  auto dollar = verifier.find('$');
  auto last_colon = verifier.rfind(':');
  if (colon == verifier.npos || dollar == verifier.npos || last_colon <= dollar || colon > dollar)
    return false;
  int iterations = 0;
  std::from_chars(verifier.data(), verifier.data() + colon, iterations);
  auto salt = from_base64(verifier.substr(colon + 1, dollar - colon - 1));
  auto stored = from_base64(verifier.substr(dollar + 1, last_colon - dollar - 1));
  digest salted{};
  digest client_key{};
  digest stored_key{};
  if (!salt || !stored || stored->size() != stored_key.size() || iterations < 1
      || PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), salt->data(),
                           static_cast<int>(salt->size()), iterations, EVP_sha256(),
                           static_cast<int>(salted.size()), salted.data())
             != 1)
    return false;
  constexpr std::string_view label = "Client Key";
  HMAC(EVP_sha256(), salted.data(), static_cast<int>(salted.size()),
       reinterpret_cast<const unsigned char*>(label.data()), label.size(), client_key.data(),
       nullptr);
  EVP_Digest(client_key.data(), client_key.size(), stored_key.data(), nullptr, EVP_sha256(),
             nullptr);
  return CRYPTO_memcmp(stored_key.data(), stored->data(), stored_key.size()) == 0;
}

// -- what there is --------------------------------------------------------------------------------

struct found_role {
  bool marked = false;
  bool logs_in = false;
  int connection_limit = -1;
  std::string valid_until; ///< as model::text_of() writes it; empty for ever
  std::string verifier;
  std::string settings;    ///< `role=appuser`, …
  std::string memberships; ///< names, comma-separated
};

using found_roles = std::map<std::string, found_role>;

constexpr const char* all_roles =
    "select r.rolname, coalesce(shobj_description(r.oid, 'pg_authid'), ''), r.rolcanlogin,"
    " r.rolconnlimit,"
    " case when isfinite(r.rolvaliduntil) then to_char(r.rolvaliduntil at time zone 'UTC',"
    " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') else '' end,"
    " coalesce(r.rolpassword, ''),"
    " coalesce((select array_to_string(setconfig, ',') from pg_db_role_setting"
    "  where setrole = r.oid and setdatabase = 0), ''),"
    " coalesce((select string_agg(g.rolname, ',' order by g.rolname) from pg_auth_members m"
    "  join pg_roles g on g.oid = m.roleid where m.member = r.oid), ''),"
    " pg_is_in_recovery()"
    " from pg_authid r where r.rolname !~ '^pg_'";

/// Whether a comma-separated list has an entry.
bool lists(const std::string& list, const std::string& entry) {
  return ("," + list + ",").find("," + entry + ",") != std::string::npos;
}

/// All roles of the cluster; a failure if this is no leader.
result<found_roles> look(session& on) {
  auto came = on.run(all_roles);
  if (!came.ok())
    return failure{came.error()};
  found_roles found;
  for (int i = 0; i < PQntuples(came->get()); ++i) {
    if (text_at(*came, i, 8) == "t")
      return failure{"the node asked is a replica; its leader has changed"};
    found[text_at(*came, i, 0)] = {
        text_at(*came, i, 1) == mark, text_at(*came, i, 2) == "t", std::stoi(text_at(*came, i, 3)),
        text_at(*came, i, 4),         text_at(*came, i, 5),        text_at(*came, i, 6),
        text_at(*came, i, 7)};
  }
  return found;
}

// -- the order ------------------------------------------------------------------------------------

/// The work of one order, as statements.
class role_maker {
public:
  role_maker(const role_order& order, known_passwords& passwords, postgresql::deadline until)
      : order_(order), passwords_(passwords), until_(until),
        readers_(order.owner.username + "_readers") {}

  role_answer make() {
    for (const auto& one : order_.wanted)
      if (auto wrong = fault_of(one.who))
        return {false, *wrong};
    auto opened = session::open(order_.conn_url, order_.superuser, until_);
    if (!opened.ok())
      return {false, "cannot connect to the leader: " + opened.error()};
    leader_.emplace(std::move(*opened));
    if (auto wrong = end_earlier_orders())
      return {false, *wrong};
    auto found = look(*leader_);
    if (!found.ok())
      return {false, found.error()};
    found_ = std::move(*found);
    if (!found_.contains(order_.owner.username))
      return {false, "the instance's application user does not exist yet"};
    if (auto wrong = let_go())
      return {false, *wrong};
    if (auto wrong = prepare_reading())
      return {false, *wrong};
    auto script = changes();
    if (!script.ok())
      return {false, script.error()};
    if (auto wrong = commit(*script))
      return {false, *wrong};
    auto lingering = drop_leaving();
    auto answer = await_replay();
    answer.lingering = std::move(lingering);
    return answer;
  }

private:
  using trouble = std::optional<std::string>;

  /// An order of a broker that stood still or is gone may have a session yet: what it would make
  /// after this order has looked, no binding would own.
  trouble end_earlier_orders() {
    std::string name = leader_->literal("matriarch roles");
    auto ended =
        leader_->run("set application_name = " + name + "; select pg_terminate_backend(pid, "
                     + std::to_string(longest_session_end / 1ms)
                     + ") from pg_stat_activity where application_name = " + name
                     + " and usename = current_user and pid <> pg_backend_pid()");
    return ended.ok() ? trouble{} : trouble{ended.error()};
  }

  static trouble fault_of(const model::credentials& who) {
    if (who.username.empty() || who.username.size() > longest_identifier)
      return "a role's name has to have 1 to 63 bytes: " + model::quoted(who.username);
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

  // -- who leaves

  /// Roles of ours that are not wanted lose their login and their sessions; what they own waits for
  /// drop_leaving(). The owner loses its login and its sessions only.
  trouble let_go() {
    std::string closing;
    std::string names;
    auto close = [&](const std::string& name) {
      if (found_[name].logs_in)
        closing += "alter role " + id(name) + " nologin;";
      names += (names.empty() ? "" : ",") + leader_->literal(name);
    };
    for (const auto& [name, role] : found_)
      if (role.marked && !is_wanted(name) && may_go(name))
        leaving_.push_back(name);
    for (const auto& name : leaving_)
      close(name);
    auto& owner = found_[order_.owner.username];
    if (owner.logs_in && !owner_logs_in())
      close(order_.owner.username);
    if (names.empty())
      return std::nullopt;
    // Committed before the sessions end: none of them can come back.
    if (auto wrong = commit(closing))
      return wrong;
    owner.logs_in = owner_logs_in() && owner.logs_in;
    if (auto wrong = end_sessions(*leader_, names))
      return wrong;
    // Before the roles are gone, so that an order that is cut off here begins here again.
    return end_sessions_on_replicas(names);
  }

  [[nodiscard]] bool may_go(const std::string& name) const {
    return !order_.some_unknown || std::ranges::find(order_.revoked, name) != order_.revoked.end();
  }

  /// A binding that cannot be read may be one that shares the owner.
  [[nodiscard]] bool owner_logs_in() const {
    auto there = found_.find(order_.owner.username);
    return order_.owner_logs_in
           || (order_.some_unknown && there != found_.end() && there->second.logs_in);
  }

  /// The roles that leave hand over what they own and are dropped, each by itself and after all
  /// else: others' transactions can hold that up for as long as they last.
  std::map<std::string, std::string> drop_leaving() {
    std::map<std::string, std::string> lingering;
    // In another order each time, so that those that are held up leave time to everyone else at last.
    std::shuffle(leaving_.begin(), leaving_.end(), std::minstd_rand{std::random_device{}()});
    auto end = std::chrono::steady_clock::now() + longest_dropping;
    for (const auto& name : leaving_) {
      auto wrong = std::chrono::steady_clock::now() > end
                       ? trouble{"others took the time; it is tried again"}
                       : hand_over(name);
      if (!wrong)
        wrong = commit("drop role " + id(name) + ";");
      if (wrong)
        lingering[name] = *wrong;
    }
    return lingering;
  }

  /// Ends all sessions of these roles and waits until they are gone; one that ends by itself
  /// meanwhile is gone as well.
  trouble end_sessions(session& on, const std::string& names) const {
    auto end = std::min(until_, std::chrono::steady_clock::now() + longest_session_end);
    while (true) {
      auto told = on.run("select pg_terminate_backend(pid) from pg_stat_activity where "
                         "backend_type = 'client backend' and usename in ("
                         + names + ")");
      if (!told.ok())
        return told.error();
      if (PQntuples(told->get()) == 0)
        return std::nullopt;
      if (std::chrono::steady_clock::now() > end)
        return "a session of a role that was revoked does not end";
      std::this_thread::sleep_for(short_pause);
    }
  }

  /// On the replicas as well, once they know that the roles may not log in. A replica that does not
  /// answer cannot be helped: the number of those that replayed tells of it.
  trouble end_sessions_on_replicas(const std::string& names) {
    if (order_.replica_urls.empty())
      return std::nullopt;
    if (auto reached = await_replay(); !reached.ok)
      return reached.why;
    for (const auto& url : order_.replica_urls)
      if (auto replica = session::open(url, order_.superuser, until_); replica.ok())
        if (auto wrong = end_sessions(*replica, names))
          spdlog::warn("the replica {} may still have sessions of revoked roles: {}", url, *wrong);
    return std::nullopt;
  }

  /// What it made goes to the owner, and nothing names it any more: in each database for itself.
  trouble hand_over(const std::string& leaving) {
    auto where = leader_->run(
        "select distinct coalesce(b.datname, current_database()) from pg_shdepend d"
        " join pg_authid r on r.oid = d.refobjid left join pg_database b on b.oid = d.dbid"
        " where d.refclassid = 'pg_authid'::regclass and r.rolname = "
        + leader_->literal(leaving));
    if (!where.ok())
      return where.error();
    auto script = std::string{"set lock_timeout = '"} + longest_lock + "';reassign owned by "
                  + id(leaving) + " to " + id(order_.owner.username) + ";drop owned by "
                  + id(leaving) + ";";
    for (int i = 0; i < PQntuples(where->get()); ++i) {
      auto database =
          session::open(order_.conn_url, order_.superuser, until_, text_at(*where, i, 0));
      if (!database.ok())
        return database.error();
      auto name = text_at(*where, i, 0);
      bool read = found_.contains(readers_) && name == model::application_database;
      // What the roles made as themselves was outside the owner's default privileges.
      if (auto done = database->run(script + (read ? grant_reading() : "")); !done.ok())
        return done.error();
    }
    return std::nullopt;
  }

  // -- who reads

  /// Lets readers read all there is in the current database.
  [[nodiscard]] std::string grant_reading() const {
    auto readers = leader_->literal(readers_);
    return "do $$ declare s text; begin for s in select nspname from pg_namespace"
           " where nspname !~ '^pg_' and nspname <> 'information_schema' loop"
           " execute format('grant usage on schema %I to %I', s, "
           + readers
           + ");"
             " execute format('grant select on all tables in schema %I to %I', s, "
           + readers + "); execute format('grant select on all sequences in schema %I to %I', s, "
           + readers + "); end loop; end $$;";
  }

  /// A role of its own for reading, which sees what applications have made and will make.
  /// pg_read_all_data would show the passwords' verifiers in pg_authid as well.
  trouble prepare_reading() {
    bool fresh = std::ranges::any_of(order_.wanted, [&](const auto& one) {
      return one.read_only && !found_.contains(one.who.username);
    });
    if (!fresh)
      return std::nullopt;
    auto owner = id(order_.owner.username);
    auto readers = id(readers_);
    auto database =
        session::open(order_.conn_url, order_.superuser, until_, model::application_database);
    if (!database.ok())
      return database.error();
    auto name = leader_->identifier(model::application_database);
    std::string script;
    if (!found_.contains(readers_))
      script += "create role " + readers + " nologin;";
    // Without these a reader could still fill the disk.
    script += "revoke temporary on database " + name
              + " from public;"
                "revoke execute on function lo_creat(integer), lo_create(oid),"
                " lo_from_bytea(oid, bytea) from public;"
                "grant execute on function lo_creat(integer), lo_create(oid),"
                " lo_from_bytea(oid, bytea) to "
              + owner
              + ";"
                "alter default privileges for role "
              + owner + " grant usage on schemas to " + readers
              + ";alter default privileges for role " + owner + " grant select on tables to "
              + readers + ";alter default privileges for role " + owner
              + " grant select on sequences to " + readers + ";";
    script += grant_reading();
    auto done = database->run(script);
    return done.ok() ? trouble{} : trouble{done.error()};
  }

  /// Applications are confined to their own database: in another one they could fill the disk, out
  /// of sight. An operator who makes a database for applications grants them the right to connect.
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

  // -- the changes

  result<std::string> changes() {
    auto closed = close_other_databases();
    if (!closed.ok())
      return closed;
    auto script = std::move(*closed);
    auto owner = change_of_owner();
    if (!owner.ok())
      return owner;
    script += *owner;
    for (const auto& one : order_.wanted) {
      auto change = change_of(one);
      if (!change.ok())
        return change;
      script += *change;
    }
    return script;
  }

  /// Any application may have changed its password: it works as the owner.
  result<std::string> change_of_owner() {
    const auto& there = found_[order_.owner.username];
    const auto& [name, password] = order_.owner;
    bool logs_in = owner_logs_in();
    bool right = !logs_in || passwords_.match(there.verifier, password);
    if (there.logs_in == logs_in && right)
      return std::string{};
    auto text = "alter role " + id(name) + (logs_in ? " login" : " nologin");
    if (right)
      return text + ";";
    auto verifier = leader_->verifier(name, password);
    if (!verifier.ok())
      return verifier;
    return text + " password " + leader_->literal(*verifier) + ";";
  }

  result<std::string> change_of(const wanted_role& wanted) {
    const auto& name = wanted.who.username;
    auto there = found_.find(name);
    if (there != found_.end() && !there->second.marked)
      return failure{"a role " + model::quoted(name) + " exists that is no binding's"};
    auto group = wanted.read_only ? readers_ : order_.owner.username;
    auto until = wanted.valid_until ? model::text_of(*wanted.valid_until) : std::string{};
    auto settings = wanted.read_only ? std::string{"default_transaction_read_only=on"}
                                     : "role=" + order_.owner.username;
    bool exists = there != found_.end();
    bool same_password = exists && passwords_.match(there->second.verifier, wanted.who.password);
    if (same_password && there->second.logs_in
        && there->second.connection_limit == wanted.connection_limit
        && there->second.valid_until == until && lists(there->second.memberships, group)
        && lists(there->second.settings, settings))
      return std::string{}; // an application may have settings of its own besides
    auto text = (exists ? "alter role " : "create role ") + id(name)
                + " login nosuperuser nocreatedb nocreaterole noreplication connection limit "
                + std::to_string(wanted.connection_limit) + " valid until "
                + leader_->literal(until.empty() ? "infinity" : until);
    if (!same_password) {
      auto verifier = leader_->verifier(name, wanted.who.password);
      if (!verifier.ok())
        return verifier;
      text += " password " + leader_->literal(*verifier);
    }
    text += ";alter role " + id(name) + " set "
            + (wanted.read_only ? std::string{"default_transaction_read_only = on"}
                                : "role = " + leader_->literal(order_.owner.username))
            + ";grant " + id(group) + " to " + id(name) + ";comment on role " + id(name) + " is "
            + leader_->literal(mark) + ";";
    return text;
  }

  // -- the replicas

  /// One transaction. It does not wait for synchronous standbys, without any bound, as others do:
  /// await_replay() does.
  trouble commit(const std::string& script) {
    if (script.empty())
      return std::nullopt;
    auto done = leader_->run("begin;" + script + "commit");
    return done.ok() ? trouble{} : trouble{done.error()};
  }

  /// Waits until each replica that streams has replayed what was committed, or the time is up; all
  /// such waits of an order share longest_replay. A replica reports whenever it has replayed all it
  /// got, and with each piece it gets.
  role_answer await_replay() {
    auto position = leader_->run("select pg_current_wal_lsn()");
    if (!position.ok())
      return {false, position.error()};
    auto question = "select count(*), count(*) filter (where replay_lsn >= "
                    + leader_->literal(text_at(*position, 0, 0))
                    + ") from pg_stat_replication where state = 'streaming'"
                      " and replay_lsn is not null";
    auto start = std::chrono::steady_clock::now();
    while (true) {
      auto came = leader_->run(question);
      if (!came.ok())
        return {false, came.error()};
      role_answer answer{true, "", std::stoi(text_at(*came, 0, 0)),
                         std::stoi(text_at(*came, 0, 1))};
      auto waited = std::chrono::steady_clock::now() - start;
      if (answer.replayed == answer.replicas || waited > replay_patience_) {
        replay_patience_ -= std::min<std::chrono::steady_clock::duration>(waited, replay_patience_);
        return answer;
      }
      std::this_thread::sleep_for(short_pause);
    }
  }

  const role_order& order_;
  known_passwords& passwords_;
  postgresql::deadline until_;
  std::string readers_;
  std::optional<session> leader_;
  found_roles found_;
  std::vector<std::string> leaving_;
  std::chrono::steady_clock::duration replay_patience_ = longest_replay;
};

} // namespace

bool known_passwords::match(const std::string& verifier, const std::string& password) {
  constexpr std::size_t digest_digits = 64;
  // Enough for the roles of thousands of instances; forgetting costs only time.
  constexpr std::size_t most_remembered = 100'000;
  auto both = model::start_of_sha256(verifier + '\0' + password, digest_digits);
  {
    std::lock_guard lock{guard_};
    if (matching_.contains(both))
      return true;
  }
  if (!is_verifier_of(verifier, password))
    return false;
  std::lock_guard lock{guard_};
  if (matching_.size() >= most_remembered)
    matching_.clear();
  matching_.insert(std::move(both));
  return true;
}

role_answer make_roles(const role_order& order, known_passwords& passwords) {
  return role_maker{order, passwords, std::chrono::steady_clock::now() + longest_order}.make();
}

} // namespace matriarch::actors
