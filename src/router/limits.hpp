#pragma once

#include <chrono>
#include <string>
#include <string_view>

/// How many connections a public port lets through, so that strangers lock nobody out.
namespace matriarch::router {

/// What conf/router.yml says under `limits`.
struct limit_settings {
  /// Connections at a time on one port, including those that have sent nothing yet; or twice what
  /// may be let through, if that is more.
  int per_port = 500;
  /// Connections of a node that public ports never use: they are for the broker, the engine and the
  /// replicas, and for sessions that end a moment later than their client.
  int reserve = 10;
  /// How many routers share a node's connections, at least; more if etcd lists more.
  int routers = 1;
  /// A port is nearly full above this percentage of its connections, ...
  int nearly_full = 90;
  /// ... and one address may then have this percentage of them.
  int per_source = 20;
  /// How long a client may take to send its first bytes.
  std::chrono::milliseconds first_bytes{std::chrono::seconds{10}};
  bool operator==(const limit_settings&) const = default;
};

/// A number of connections, and how many of them one address may have when they are nearly used up.
struct shared_limit {
  int most = 0;
  int nearly = 0; ///< the number is nearly used up above this
  int share = 1;  ///< of one address in that case, at least 1
  bool operator==(const shared_limit&) const = default;
};

/// The limits of one port.
struct port_limits {
  shared_limit passed; ///< to one node
  shared_limit all;    ///< including those that have not sent enough to be let through
  bool operator==(const port_limits&) const = default;

  /// Six numbers with colons between them, as the file limits.map has them.
  [[nodiscard]] std::string text() const;
};

/// Reads text() back. A text that cannot be read gives limits that let nobody in.
[[nodiscard]] port_limits port_limits_of(std::string_view text);

[[nodiscard]] shared_limit shared_limit_of(int most, const limit_settings& settings);

/// The limits of a port that leads to up to `nodes` nodes, each of which takes `max_connections`,
/// if that many routers share them.
[[nodiscard]] port_limits limits_of(int max_connections, int nodes, const limit_settings& settings,
                                    int routers);

} // namespace matriarch::router
