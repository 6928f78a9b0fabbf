#include "engines/postgresql/actors/binding_roles.hpp"

#include <utility>

#include "engines/postgresql/model/groups.hpp"

namespace matriarch::engines::postgresql {

using namespace std::chrono_literals;

namespace {

// A session that is told to end does so at its next check for interrupts, unless it is in a long
// system call.
constexpr auto longest_session_end = 5s;

} // namespace

result<found_roles> find_roles(session& on, const std::string& owner) {
  auto member_of = [&](const std::string& group) {
    return "exists (select from pg_auth_members m join pg_roles g on g.oid = m.roleid"
           " where m.member = r.oid and g.rolname = "
           + on.literal(group) + ")";
  };
  auto has_set = [&](const std::string& setting) {
    // An application may have made very long, compressed settings. Settings that are stored in more
    // bytes than all of Matriarch's own are not decompressed.
    return "exists (select from pg_db_role_setting where setrole = r.oid and setdatabase = 0 and"
           " case when pg_column_size(setconfig) <= "
           + std::to_string(longest_settings) + " then " + on.literal(setting)
           + " = any (setconfig) else false end)";
  };
  auto came = on.run(
      "select r.rolname, coalesce(shobj_description(r.oid, 'pg_authid'), ''),"
      " r.rolcanlogin, r.rolconnlimit,"
      " case when isfinite(r.rolvaliduntil) then to_char(r.rolvaliduntil at time zone 'UTC',"
      " 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') else '' end,"
      // Matriarch's verifiers have 133 bytes. An application may have stored one that would fill
      // the memory.
      " case when octet_length(r.rolpassword) <= 200 then r.rolpassword else '' end,"
      " case when r.rolname = "
      + on.literal(owner)
      + " then exists (select from pg_stat_activity a where a.usesysid = r.oid) else false end,"
      + member_of(owner) + "," + member_of(readers_role(owner)) + ","
      + member_of(revoked_role(owner)) + "," + has_set("role=" + owner) + ","
      + has_set("default_transaction_read_only=on")
      + ", pg_is_in_recovery() from pg_authid r where r.rolname !~ '^pg_'");
  if (!came.ok())
    return failure{came.error()};
  found_roles found;
  for (int i = 0; i < PQntuples(came->get()); ++i) {
    auto text = [&](int column) { return text_at(*came, i, column); };
    auto flag = [&](int column) { return text(column) == "t"; };
    if (flag(12))
      return failure{"the node asked is a replica; its leader has changed"};
    if (text(0).size() > longest_identifier)
      continue; // a role that nobody can have made
    const auto connections = number_at(*came, i, 3);
    if (!connections || !std::in_range<int>(*connections))
      return failure{"the node answered what was not asked for"};
    found[text(0)] = {text(1) == binding_mark,
                      flag(2),
                      static_cast<int>(*connections),
                      text(4),
                      text(5),
                      flag(6),
                      flag(7),
                      flag(8),
                      flag(9),
                      flag(10),
                      flag(11)};
  }
  return found;
}

std::optional<std::string> end_earlier_orders(session& on, const std::string& kind) {
  auto name = on.literal("matriarch " + kind);
  auto ended = on.run("set application_name = " + name + "; select pg_terminate_backend(pid, "
                      + std::to_string(longest_session_end / 1ms)
                      + ") from pg_stat_activity where application_name = " + name
                      + " and usename = current_user and pid <> pg_backend_pid()");
  return ended.ok() ? std::nullopt : std::optional{ended.error()};
}

result<begun_order> begin_order(const std::string& conn_url, const model::credentials& superuser,
                                const std::string& owner, const std::string& kind, deadline until) {
  auto leader = session::open(conn_url, superuser, until);
  if (!leader.ok())
    return failure{"cannot connect to the leader: " + leader.error()};
  if (auto wrong = end_earlier_orders(*leader, kind))
    return failure{*wrong};
  auto found = find_roles(*leader, owner);
  if (!found.ok())
    return failure{found.error()};
  return begun_order{std::move(*leader), std::move(*found)};
}

} // namespace matriarch::engines::postgresql
