#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/cluster.hpp"

namespace matriarch::engines::postgresql {

/// The database that superusers connect to.
inline constexpr const char* maintenance_database = "postgres";

/// The URL by which libpq logs in at a node at that address; `ours`: the node is on a Matriarch
/// cell.
[[nodiscard]] std::string login_url(const model::node_addresses& at, const std::string& node_id,
                                    bool ours);

/// How libpq reaches one node.
struct login_target {
  std::string host; ///< the name that a certificate must have
  std::string port;
  std::string address = {}; ///< the address, if the name is not one
  std::string sslmode = "prefer";
  std::string channel_binding = "prefer";
  /// Whether the server must show a certificate.
  [[nodiscard]] bool is_checked() const { return sslmode == "verify-full"; }
  bool operator==(const login_target&) const = default;
};
/// The target in a login URL of exactly one host, one port and the known options; else nothing.
/// libpq's own parser would accept lists of hosts, each of which takes its time, and any setting.
[[nodiscard]] std::optional<login_target> login_target_in(std::string_view url);

} // namespace matriarch::engines::postgresql
