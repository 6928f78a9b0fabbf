#include "engines/postgresql/actors/hand_over.hpp"

#include <algorithm>
#include <chrono>
#include <set>
#include <vector>

#include "engines/postgresql/actors/owned_objects.hpp"

namespace matriarch::engines::postgresql {

namespace {

// A statement for a table also locks its indexes, TOAST table and sequences. This many tables stay
// below the few thousand locks that PostgreSQL has by default.
constexpr std::size_t largest_batch = 100;
// Each object that another transaction holds costs lock_timeout, in each batch that contains it.
constexpr std::size_t most_passed_over = 10;
// The database may contain very many objects, but one look has to be short.
constexpr int most_listed = 1'000;

/// An object that refers to the role, and the statement that ends that.
struct item {
  std::string object; ///< as in pg_shdepend: classid.objid
  std::string statement;
};

class handing_over {
public:
  handing_over(session& in, const std::string& leaving, const std::string& heir, deadline end)
      : in_(in), end_(end), leaving_(in.literal(leaving)), from_(in.identifier(leaving)),
        to_(in.identifier(heir)) {}

  std::optional<std::string> run() {
    for (auto look : {&handing_over::owned, &handing_over::policies, &handing_over::privileges,
                      &handing_over::defaults_made, &handing_over::defaults_got})
      if (auto wrong = do_all(look))
        return wrong;
    if (!first_trouble_.empty())
      return first_trouble_;
    // What is left is of few kinds, and little.
    auto rest = in_.run("reassign owned by " + from_ + " to " + to_ + "; drop owned by " + from_);
    if (rest.ok())
      return std::nullopt;
    return in_.was_locked_out() ? locked_by_others : rest.error();
  }

private:
  /// The part of a query that finds objects in the session's database that depend on the role, as
  /// `d`.
  [[nodiscard]] std::string dependent(const char* kind, const std::string& classes,
                                      const char* but = "") const {
    std::string passed_over;
    for (const auto& object : passed_over_)
      passed_over += (passed_over.empty() ? "" : ",") + in_.literal(object);
    return " from (select d.classid, d.objid, d.refobjid from pg_shdepend d"
           " where d.refclassid = 'pg_authid'::regclass and d.refobjid = (select oid from pg_authid"
           " where rolname = "
           + leaving_ + ") and d.deptype = '" + kind
           + "' and d.dbid = (select oid from pg_database where datname = current_database())"
             " and d.classid in (select k::regclass from unnest(array["
           + classes + "]) k)"
           + (passed_over.empty() ? ""
                                  : " and d.classid || '.' || d.objid not in (" + passed_over + ")")
           + but + " limit " + std::to_string(most_listed) + ") d";
  }

  /// Column sequences change owner with their tables, and multiranges with their ranges, so both
  /// are left out.
  [[nodiscard]] std::string owned() const {
    return "select d.classid || '.' || d.objid, format('alter %s %s owner to %s',"
           " "
           + std::string{word_for_alter} + ", i.identity, " + in_.literal(to_) + ")"
           + dependent("o", "'pg_class', 'pg_namespace', " + std::string{owned_beside_relations},
                       " and not exists (select from pg_depend o join pg_class s on s.oid = o.objid"
                       "  where d.classid = 'pg_class'::regclass and o.classid = d.classid"
                       "  and o.objid = d.objid and o.refclassid = d.classid and s.relkind = 'S'"
                       "  and o.deptype in ('a', 'i'))"
                       " and not exists (select from pg_type t where"
                       "  d.classid = 'pg_type'::regclass and t.oid = d.objid and t.typtype = 'm')")
           + " cross join lateral pg_identify_object(d.classid, d.objid, 0) i";
  }

  /// A policy that names no other role is dropped.
  [[nodiscard]] std::string policies() const {
    return "select d.classid || '.' || d.objid, case when others is null"
           " then format('drop policy %I on %s', p.polname, p.polrelid::regclass)"
           " else format('alter policy %I on %s to %s', p.polname, p.polrelid::regclass, others) "
           "end"
           + dependent("r", "'pg_policy'")
           + " join pg_policy p on p.oid = d.objid"
             " cross join lateral (select string_agg(case o when 0 then 'public'"
             "  else o::regrole::text end, ',') others"
             "  from unnest(p.polroles) o where o <> d.refobjid) a";
  }

  /// Each privilege is revoked as its grantor, since nobody else can do it; for the owner's grants
  /// the superuser itself counts as the owner.
  [[nodiscard]] std::string privileges() const {
    return "select object, string_agg(statement, ';') from (select d.classid || '.' || d.objid"
           " object, format('%srevoke %s on %s %s from %s cascade;reset role',"
           "  case g.grantor when s.owner then ''"
           "   else format('set role %I;', pg_get_userbyid(g.grantor)) end,"
           "  string_agg(distinct g.privilege_type || coalesce(' (' || quote_ident(s.part) || ')', "
           "''), ','),"
           "  case i.type when 'sequence' then 'sequence' when 'function' then 'routine'"
           "   when 'procedure' then 'routine' when 'aggregate' then 'routine'"
           "   when 'schema' then 'schema' when 'type' then 'type' when 'language' then 'language'"
           "   when 'large object' then 'large object' when 'server' then 'foreign server'"
           "   when 'foreign-data wrapper' then 'foreign data wrapper' else 'table' end,"
           "  i.identity, "
           + in_.literal(from_) + ") statement"
           + dependent("a", "'pg_class', 'pg_proc', 'pg_namespace', 'pg_type', 'pg_language',"
                            "'pg_largeobject', 'pg_foreign_server', 'pg_foreign_data_wrapper'")
           + " cross join lateral pg_identify_object(d.classid, d.objid, 0) i"
             " cross join lateral (select relowner owner, relacl acl, null::name part"
             "   from pg_class where d.classid = 'pg_class'::regclass and oid = d.objid"
             "  union all select relowner, attacl, attname from pg_attribute"
             "   join pg_class c on c.oid = attrelid"
             "   where d.classid = 'pg_class'::regclass and attrelid = d.objid"
             "  union all select proowner, proacl, null from pg_proc"
             "   where d.classid = 'pg_proc'::regclass and oid = d.objid"
             "  union all select nspowner, nspacl, null from pg_namespace"
             "   where d.classid = 'pg_namespace'::regclass and oid = d.objid"
             "  union all select typowner, typacl, null from pg_type"
             "   where d.classid = 'pg_type'::regclass and oid = d.objid"
             "  union all select lanowner, lanacl, null from pg_language"
             "   where d.classid = 'pg_language'::regclass and oid = d.objid"
             "  union all select lomowner, lomacl, null from pg_largeobject_metadata"
             "   where d.classid = 'pg_largeobject'::regclass and oid = d.objid"
             "  union all select srvowner, srvacl, null from pg_foreign_server"
             "   where d.classid = 'pg_foreign_server'::regclass and oid = d.objid"
             "  union all select fdwowner, fdwacl, null from pg_foreign_data_wrapper"
             "   where d.classid = 'pg_foreign_data_wrapper'::regclass and oid = d.objid) s"
             " cross join lateral aclexplode(s.acl) g where g.grantee = d.refobjid"
             " group by d.classid, d.objid, i.type, i.identity, s.owner, s.part is null, g.grantor"
             ") all_of_them group by object";
  }

  /// The role's own default privileges, one row per schema, of which there may be many. A row that
  /// grants nothing to anybody disappears. Default privileges for the whole database are few.
  [[nodiscard]] std::string defaults_made() const {
    return "select d.classid || '.' || d.objid, format('alter default privileges for role %s in"
           " schema %I revoke all on %s from %s', "
           + in_.literal(from_) + ", n.nspname, " + what_defaults_are_for + ", a.grantees)"
           + dependent("o", "'pg_default_acl'",
                       " and exists (select from pg_default_acl p where p.oid = d.objid"
                       "  and p.defaclnamespace <> 0)")
           + " join pg_default_acl p on p.oid = d.objid"
             " join pg_namespace n on n.oid = p.defaclnamespace"
             " cross join lateral (select string_agg(distinct case a.grantee when 0 then 'public'"
             "  else quote_ident(pg_get_userbyid(a.grantee)) end, ',') grantees"
             "  from aclexplode(p.defaclacl) a) a where a.grantees is not null";
  }

  /// Other roles' default privileges that grant something to this role.
  [[nodiscard]] std::string defaults_got() const {
    return "select d.classid || '.' || d.objid, format('alter default privileges for role %I%s"
           " revoke all on %s from %s', pg_get_userbyid(p.defaclrole),"
           " coalesce(' in schema ' || quote_ident(n.nspname), ''), "
           + std::string{what_defaults_are_for} + ", " + in_.literal(from_) + ")"
           + dependent("a", "'pg_default_acl'")
           + " join pg_default_acl p on p.oid = d.objid"
             " left join pg_namespace n on n.oid = p.defaclnamespace";
  }

  static constexpr const char* what_defaults_are_for =
      "case p.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'"
      " when 'f' then 'routines' when 'T' then 'types' else 'schemas' end";

  /// Repeats until a look finds nothing but objects that were passed over.
  std::optional<std::string> do_all(std::string (handing_over::*look)() const) {
    std::set<std::string> done;
    while (true) {
      auto came = in_.run((this->*look)());
      if (!came.ok())
        return came.error();
      std::vector<item> found;
      for (int i = 0; i < std::min(PQntuples(came->get()), most_listed); ++i) {
        found.push_back({text_at(*came, i, 0), text_at(*came, i, 1)});
        if (!done.insert(found.back().object).second)
          return "an object that refers to the role could not be changed";
      }
      if (found.empty())
        return std::nullopt;
      for (std::size_t at = 0; at < found.size();) {
        if (std::chrono::steady_clock::now() > end_)
          return "its objects are being handed over; there are many, and the work goes on";
        auto size = std::min(size_, found.size() - at);
        if (do_some(found, at, size))
          at += size;
        else if (size > 1)
          size_ = size / 2;
        else if (!pass_over(found[at++].object))
          return first_trouble_;
      }
    }
  }

  /// Runs one transaction.
  bool do_some(const std::vector<item>& found, std::size_t at, std::size_t size) {
    std::string script;
    for (auto i = at; i < at + size; ++i)
      script += found[i].statement + ";";
    auto done = in_.run(script + "reset role");
    if (done.ok()) {
      size_ = std::min(largest_batch, size_ * 2);
      return true;
    }
    last_trouble_ = in_.was_locked_out() ? locked_by_others : done.error();
    return false;
  }

  bool pass_over(const std::string& object) {
    passed_over_.push_back(object);
    if (first_trouble_.empty())
      first_trouble_ = last_trouble_;
    return passed_over_.size() < most_passed_over;
  }

  session& in_;
  deadline end_;
  std::string leaving_; ///< as a literal
  std::string from_;    ///< as identifiers
  std::string to_;
  std::size_t size_ = largest_batch;
  std::vector<std::string> passed_over_;
  std::string first_trouble_;
  std::string last_trouble_;
};

} // namespace

std::optional<std::string> hand_over(session& in, const std::string& leaving,
                                     const std::string& heir, deadline end) {
  return handing_over{in, leaving, heir, end}.run();
}

} // namespace matriarch::engines::postgresql
