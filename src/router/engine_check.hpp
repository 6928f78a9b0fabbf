#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace matriarch::router {

/// What a router knows of an engine: which clients a port lets through at once, and how a member is
/// asked whether it is the one that a port leads to. Only data, for HAProxy asks the members.
/// Members' keys have the same form for all engines: `conn_url` is where clients connect, `api_url`
/// is what HAProxy asks.
struct engine_check {
  std::string_view engine;
  /// Lines of a listen. They decide by the first bytes, at least eight, which connections need not
  /// be counted.
  std::string_view admission;
  /// Lines that ask a server. {checks} and {scopes} stand for the maps' files, which have a value
  /// for each listen. An answer from another scope must not pass, for the address may belong to
  /// another cluster by now.
  std::string_view checks;
  /// The value in the map of checks for a port that leads to the leader, and for a port that leads
  /// to replicas fit for readers.
  std::string_view leader;
  std::string_view replica;
  /// The parameter that sets how many connections a node takes, where the cluster's configuration
  /// in etcd holds its parameters, the engine's default for that parameter, and its maximum.
  std::string_view connections_parameter;
  std::string_view parameters_of;
  int usual_connections = 0;
  int most_connections = 0;
};

/// The checks of all engines.
class engine_checks {
public:
  /// At least one. The first is for records that name no engine: those from before there were
  /// several.
  explicit engine_checks(std::vector<engine_check> all) : all_(std::move(all)) {}

  [[nodiscard]] const engine_check& usual() const { return all_.front(); }
  [[nodiscard]] const std::vector<engine_check>& all() const { return all_; }
  /// nullptr if there is none of that name.
  [[nodiscard]] const engine_check* find(std::string_view engine) const {
    auto found = std::ranges::find(all_, engine, &engine_check::engine);
    return engine.empty() ? &all_.front() : found == all_.end() ? nullptr : &*found;
  }

private:
  std::vector<engine_check> all_;
};

} // namespace matriarch::router
