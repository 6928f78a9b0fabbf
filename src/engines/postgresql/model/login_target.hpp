#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/cluster.hpp"

namespace matriarch::engines::postgresql {

/// The database that superusers connect to.
inline constexpr const char* maintenance_database = "postgres";

/// What libpq is told to log in with at a node that is there, of a cell of ours or another.
[[nodiscard]] std::string login_url(const model::node_addresses& at, const std::string& node_id,
                                    bool ours);

/// How libpq reaches one node, in its own words.
struct login_target {
  std::string host; ///< whom a certificate has to name
  std::string port;
  std::string address = {}; ///< where that is, if the name does not say it
  std::string sslmode = "prefer";
  std::string channel_binding = "prefer";
  /// Whether the server has to show a certificate.
  [[nodiscard]] bool is_checked() const { return sslmode == "verify-full"; }
  bool operator==(const login_target&) const = default;
};
/// What a login URL says, if that is one host and one port, and nothing but what is to be checked of the
/// server; else nothing. libpq's own reading of a URL knows lists of hosts, of which each takes its
/// time, and settings of all kinds.
[[nodiscard]] std::optional<login_target> login_target_in(std::string_view url);

} // namespace matriarch::engines::postgresql
