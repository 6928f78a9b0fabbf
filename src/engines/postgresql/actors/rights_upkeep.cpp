#include "engines/postgresql/actors/rights_upkeep.hpp"

#include <optional>

#include "engines/postgresql/actors/owner_settings.hpp"
#include "engines/postgresql/actors/reader_rights.hpp"
#include "engines/postgresql/actors/session.hpp"
#include "engines/postgresql/actors/system_functions.hpp"
#include "engines/postgresql/model/groups.hpp"

namespace matriarch::engines::postgresql {

namespace {

using namespace std::chrono_literals;

// Some thousand rights can be granted in this time; other instances are waiting.
constexpr auto longest_round = 2s;
// A statement that hangs longer is cancelled.
constexpr auto longest_order = 10s;

/// Creates missing groups and memberships: the owner is the only member of its writers, and sees
/// the statistics of applications' sessions, which logged in as other roles.
std::optional<std::string> keep_groups(session& on, const std::string& owner, bool readers) {
  std::string script;
  auto found = on.run(
      "select (select count(*) from pg_roles where rolname = " + on.literal(owner)
      + "), (select count(*) from pg_roles where rolname = " + on.literal(writers_role(owner))
      + "), (select count(*) from pg_roles where rolname = " + on.literal(readers_role(owner))
      + "), (select count(*) from pg_auth_members m join pg_roles g"
        " on g.oid = m.roleid join pg_roles r on r.oid = m.member where r.rolname = "
      + on.literal(owner) + " and g.rolname in ('pg_read_all_stats', "
      + on.literal(writers_role(owner)) + "))");
  if (!found.ok())
    return found.error();
  if (text_at(*found, 0, 0) == "0")
    return "the instance's application user does not exist yet";
  if (text_at(*found, 0, 1) == "0")
    script += "create role " + on.identifier(writers_role(owner)) + " nologin;";
  if (readers && text_at(*found, 0, 2) == "0")
    script += "create role " + on.identifier(readers_role(owner)) + " nologin;";
  if (text_at(*found, 0, 3) != "2")
    script += "grant pg_read_all_stats, " + on.identifier(writers_role(owner)) + " to "
              + on.identifier(owner) + ";";
  if (script.empty())
    return std::nullopt;
  auto done = on.run(script);
  return done.ok() ? std::nullopt : std::optional{done.error()};
}

} // namespace

actors::rights_answer keep_rights(const actors::rights_order& order) {
  const auto start = std::chrono::steady_clock::now();
  auto database = session::open(order.conn_url, order.superuser, start + longest_order,
                                model::application_database);
  if (!database.ok())
    return {false, "cannot connect to the leader: " + database.error()};
  if (auto wrong = keep_groups(*database, order.owner, order.readers))
    return {false, *wrong};
  auto readers = order.readers ? readers_role(order.owner) : std::string{};
  if (auto wrong =
          keep_system_functions(*database, {order.owner, writers_role(order.owner), readers}))
    return {false, *wrong};
  if (auto wrong = copy_settings(*database, order.owner))
    return {false, *wrong};
  if (!order.readers)
    return {true, "", true};
  auto came = compare_rights(*database, order.owner, readers, start + longest_round);
  return {came.why.empty(), came.why, came.complete, came.skipped};
}

} // namespace matriarch::engines::postgresql
