#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "actors/engine.hpp"
#include "engines/postgresql/actors/session.hpp"

/// What the roles of bindings look like in PostgreSQL, and which there are.
namespace matriarch::engines::postgresql {

/// A role's settings that are stored in more bytes are an application's nonsense, or its attack: they
/// are not read, and go where they stand for ours.
inline constexpr int longest_settings = 8192;

/// PostgreSQL cuts longer names, silently.
inline constexpr std::size_t longest_identifier = 63;

/// The comment that tells our roles from those that somebody made by hand; only a superuser can set
/// it.
inline constexpr const char* binding_mark = "matriarch binding";

struct found_role {
  bool marked = false;
  bool logs_in = false;
  int connection_limit = -1;
  std::string valid_until;   ///< as base::text_of() writes it; empty for ever
  std::string verifier;      ///< the role may have written it itself
  bool has_sessions = false; ///< of the owner alone
  bool in_owner = false;     ///< a member of the owner, and so on
  bool in_readers = false;
  bool in_revoked = false;
  bool becomes_owner = false; ///< with its first statement, unless it says otherwise
  bool reads_only = false;    ///< likewise
};

using found_roles = std::map<std::string, found_role>;

/// All roles of the cluster; a failure if this is no leader.
[[nodiscard]] result<found_roles> find_roles(session& on, const std::string& owner);

/// Ends what an earlier order of this `kind` has not finished, of a broker that stood still or is
/// gone: what it would do after this one has looked, nobody would know of.
[[nodiscard]] std::optional<std::string> end_earlier_orders(session& on, const std::string& kind);

/// With superusers' sessions.
struct open_sessions final : actors::open_sessions {
  open_sessions(session to_leader, std::map<std::string, session> to_replicas)
      : leader(std::move(to_leader)), replicas(std::move(to_replicas)) {}
  session leader;
  std::map<std::string, session> replicas; ///< by node id
};

/// A session with the leader, at which no earlier order of this kind goes on, and what there is.
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
