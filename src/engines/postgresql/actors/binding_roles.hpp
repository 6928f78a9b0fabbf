#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "actors/engine.hpp"
#include "engines/postgresql/actors/session.hpp"

/// The roles of bindings as PostgreSQL stores them.
namespace matriarch::engines::postgresql {

/// Settings of a role that are stored in more bytes are an application's mistake or attack. They
/// are not read, and are removed where they displace Matriarch's own.
inline constexpr int longest_settings = 8192;

/// PostgreSQL cuts longer names, silently.
inline constexpr std::size_t longest_identifier = 63;

/// The comment that marks Matriarch's roles. Only a superuser can set it.
inline constexpr const char* binding_mark = "matriarch binding";

struct found_role {
  bool marked = false;
  bool logs_in = false;
  int connection_limit = -1;
  std::string valid_until;   ///< as base::text_of() writes it; empty: no end
  std::string verifier;      ///< the role may have written it itself
  bool has_sessions = false; ///< only filled for the owner
  bool in_owner = false;     ///< is a member of the owner; the next two likewise
  bool in_readers = false;
  bool in_revoked = false;
  bool becomes_owner = false; ///< with its first statement, unless that statement says otherwise
  bool reads_only = false;    ///< likewise
};

using found_roles = std::map<std::string, found_role>;

/// All roles of the cluster; a failure if the node is not a leader.
[[nodiscard]] result<found_roles> find_roles(session& on, const std::string& owner);

/// Ends the sessions of an earlier order of this `kind`, whose broker hung or is gone: nobody would
/// know what such a session changes after this order has looked.
[[nodiscard]] std::optional<std::string> end_earlier_orders(session& on, const std::string& kind);

/// The sessions are superusers'.
struct open_sessions final : actors::open_sessions {
  open_sessions(session to_leader, std::map<std::string, session> to_replicas)
      : leader(std::move(to_leader)), replicas(std::move(to_replicas)) {}
  session leader;
  std::map<std::string, session> replicas; ///< by node id
};

/// A session with the leader, without any earlier order of this kind, and the roles found.
struct begun_order {
  session leader;
  found_roles found;
};
[[nodiscard]] result<begun_order> begin_order(const std::string& conn_url,
                                              const model::credentials& superuser,
                                              const std::string& owner, const std::string& kind,
                                              deadline until);

/// `names` as literals, comma-separated.
template <class Names>
std::string literals(const session& in, const Names& names) {
  std::string list;
  for (const auto& name : names)
    list += (list.empty() ? "" : ",") + in.literal(name);
  return list;
}

} // namespace matriarch::engines::postgresql
