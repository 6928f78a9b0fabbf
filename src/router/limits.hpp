#pragma once

#include <chrono>
#include <string>
#include <string_view>

/// How many connections a public port lets through, so that strangers keep nobody out.
namespace matriarch::router {

/// What conf/router.yml says under `limits`.
struct limit_settings {
  /// Connections at a time on one port, among them those that have said nothing yet; or twice what
  /// may be let through, if that is more.
  int per_port = 500;
  /// So many of a node's connections are never taken by what comes through public ports: the
  /// broker's, its engine's and the replicas' own, and sessions that end a moment later than their
  /// client.
  int reserve = 10;
  /// How many routers share what a node takes, at least; more if more are seen in etcd.
  int routers = 1;
  /// From how many percent of a port's connections on it is nearly full, ...
  int nearly_full = 90;
  /// ... and how many percent of them one address may have then.
  int per_source = 20;
  /// How long a client may take to send its first bytes.
  std::chrono::milliseconds first_bytes{std::chrono::seconds{10}};
  bool operator==(const limit_settings&) const = default;
};

/// A number of connections, and what of it one address may have once it is nearly used up.
struct shared_limit {
  int most = 0;
  int nearly = 0; ///< above this it is nearly full
  int share = 1;  ///< of one address then, at least 1
  bool operator==(const shared_limit&) const = default;
};

/// The limits of one port.
struct port_limits {
  shared_limit passed; ///< to one node
  shared_limit all;    ///< with those that have not said enough to be let through
  bool operator==(const port_limits&) const = default;

  /// Six numbers with colons between them, as the file limits.map has them.
  [[nodiscard]] std::string text() const;
};

/// Reads text() back; what cannot be read lets nobody in.
[[nodiscard]] port_limits port_limits_of(std::string_view text);

[[nodiscard]] shared_limit shared_limit_of(int most, const limit_settings& settings);

/// The limits of a port that leads to up to `nodes` nodes, each of which takes
/// `max_connections`, where so many routers share them.
[[nodiscard]] port_limits limits_of(int max_connections, int nodes, const limit_settings& settings,
                                    int routers);

} // namespace matriarch::router
