#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace matriarch::router {

/// What a router knows of an engine: whom a port lets through at once, and how a member is asked whether
/// it is the one that a port leads to. Data alone, for HAProxy asks. Members' keys are the same of all
/// engines: `conn_url` is where clients connect, `api_url` whom HAProxy asks.
struct engine_check {
  std::string_view engine;
  /// Lines of a listen. They say by the first bytes, at least eight, who need not be counted.
  std::string_view admission;
  /// Lines that ask a server: {checks} and {scopes} are the maps' files, which say what of each listen.
  /// An answer from another scope must not pass, for an address may be another cluster's by now.
  std::string_view checks;
  /// What the map of checks says for a port that leads to the leader, and for one that leads to
  /// replicas fit for readers.
  std::string_view leader;
  std::string_view replica;
  /// The parameter that says how many connections a node takes, where the cluster's configuration in
  /// etcd has its parameters, and what the engine takes where nobody has said it, and at most.
  std::string_view connections_parameter;
  std::string_view parameters_of;
  int usual_connections = 0;
  int most_connections = 0;
};

/// The checks of all engines.
class engine_checks {
public:
  /// At least one. The first is of what names no engine, as records before there were several.
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
