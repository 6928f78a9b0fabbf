#include "engines/postgresql/actors/owner_settings.hpp"

#include <map>
#include <utility>

#include "engines/postgresql/model/role_settings.hpp"

namespace matriarch::engines::postgresql {

namespace {

/// The settings of the owner and of the roles that work as it, for all databases (0) and for this
/// one. Settings may be as long as an application likes and are copied to each binding's role, so a
/// role's settings of more than 8 kB are left as they are.
constexpr const char* all_settings = R"(
with o as (select oid from pg_roles where rolname = )";
constexpr const char* and_of_whom = R"(),
  who as (select oid, true as is_owner from o union all
    select m.member, false from pg_auth_members m join o on m.roleid = o.oid
    where shobj_description(m.member, 'pg_authid') = 'matriarch binding'),
  places as (select 0::oid as oid union all
    select oid from pg_database where datname = current_database())
select who.is_owner, who.oid, places.oid, e.entry
  from who cross join places
  left join pg_db_role_setting s on s.setrole = who.oid and s.setdatabase = places.oid
    and pg_column_size(s.setconfig) <= 8192
  left join lateral unnest(s.setconfig) with ordinality as e(entry, place) on true
  order by who.oid, places.oid, e.place)";

// The same limit for settings as the server sends them decompressed: they are compared by name, and
// sent back.
constexpr std::size_t longest_in_all = 64 * 1024;

struct place {
  std::string role;
  std::string database;
  auto operator<=>(const place&) const = default;
};

struct told_settings {
  role_settings all;
  std::size_t bytes = 0;

  void add(std::string one) {
    bytes += one.size() + 1;
    if (is_short())
      all.push_back(std::move(one));
  }
  [[nodiscard]] bool is_short() const { return bytes <= longest_in_all; }
};

std::string array_of(const session& on, const role_settings& settings) {
  std::string text;
  for (const auto& one : settings)
    text += (text.empty() ? "" : ", ") + on.literal(one);
  return "array[" + text + "]::text[]";
}

/// Writes the catalog directly, which takes values as they are stored; ALTER ROLE would need each
/// value taken apart and quoted again, with special rules for lists. A row that has changed in
/// between stays as it is.
std::string change(const session& on, const place& where, const role_settings& from,
                   const role_settings& to) {
  auto row = " where setrole = " + where.role + " and setdatabase = " + where.database
             + " and setconfig = " + array_of(on, from);
  if (from.empty())
    return "insert into pg_db_role_setting (setdatabase, setrole, setconfig) values ("
           + where.database + ", " + where.role + ", " + array_of(on, to) + ")";
  if (to.empty())
    return "delete from pg_db_role_setting" + row;
  return "update pg_db_role_setting set setconfig = " + array_of(on, to) + row;
}

} // namespace

std::optional<std::string> copy_settings(session& database, const std::string& owner) {
  // Another session changes settings only for a moment, or holds the role for any time.
  auto found = database.run("set lock_timeout = '50ms';" + std::string{all_settings}
                            + database.literal(owner) + and_of_whom);
  if (!found.ok())
    return found.error();
  std::map<std::string, told_settings> owners; // by database
  std::map<place, told_settings> others;
  for (int i = 0; i < PQntuples(found->get()); ++i) {
    const place where{text_at(*found, i, 1), text_at(*found, i, 2)};
    auto& settings = text_at(*found, i, 0) == "t" ? owners[where.database] : others[where];
    if (PQgetisnull(found->get(), i, 3) == 0)
      settings.add(text_at(*found, i, 3));
  }
  for (const auto& [where, own] : others) {
    if (database.is_over())
      return "the owner's settings are being copied; there are many, and the work goes on";
    const auto& from = owners[where.database];
    if (!own.is_short() || !from.is_short())
      continue;
    if (auto next = settings_from_owner(own.all, from.all))
      (void)database.run(change(database, where, own.all, *next));
  }
  return std::nullopt;
}

} // namespace matriarch::engines::postgresql
