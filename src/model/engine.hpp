#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "model/cluster.hpp"
#include "model/observation.hpp"
#include "model/settings.hpp"

/// The decisions that differ between engines, as pure functions of values.
namespace matriarch::model {

/// What an engine's clusters can do. A request for anything else is refused with a reason.
struct capabilities {
  bool replicas = false;          ///< a cluster can have more than one node
  bool switch_over = false;       ///< another node can be made the leader
  bool synchronous = false;       ///< a leader can wait for a replica before it acknowledges
  bool users_per_binding = false; ///< each binding can have a user of its own
  bool read_only = false;         ///< a binding's user may be one that only reads
  bool follows = false;           ///< a cluster can follow another one
  bool archive = false;           ///< what is written can be archived, to restore from
};

/// A parameter as an operator wrote it.
using given_parameters = std::vector<std::pair<std::string, std::string>>;

/// Why a plan cannot have a parameter.
struct parameter_fault {
  std::string name; ///< as it was written
  std::string words;
};

/// A plan's parameters under the engine's names, or the first fault found.
struct checked_parameters {
  std::map<std::string, std::string> parameters = {};
  std::optional<parameter_fault> fault = {};
};

/// The parameters of a request to start a node, by name, in order.
using start_parameters = std::vector<std::pair<std::string, std::string>>;

/// The URLs of a node.
struct member_urls {
  std::string database; ///< in the form of its own member key
  std::string login;    ///< the same, with what has to be checked of the server
  std::string control;  ///< of the node's control API
};

/// A secret that each new cluster gets.
struct secret_need {
  std::string_view name;
  std::string_view username;
};

/// How applications reach a cluster.
struct way_in {
  credentials user;
  std::string host; ///< of the routers
  int port = 0;
  /// PEM of the authority that signs the certificates shown to clients; empty: none.
  std::string authority = {};
};

/// The decisions of an engine.
class engine {
public:
  engine() = default;
  virtual ~engine() = default;
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// The name in plans and records, in lower case.
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// The name for people.
  [[nodiscard]] virtual std::string_view title() const = 0;
  [[nodiscard]] virtual capabilities can() const = 0;

  // -- plans --------------------------------------------------------------------------------------

  /// Checks the parameters of a plan, given in the engine's own terms.
  [[nodiscard]] virtual checked_parameters check(const given_parameters& given) const = 0;
  /// Adds what every cluster has unless its plan says otherwise.
  [[nodiscard]] virtual std::map<std::string, std::string>
  completed(std::map<std::string, std::string> parameters) const = 0;
  /// Adds parameters that keep a node within its plan's limits; called before completed().
  /// Parameters that the plan sets itself stay.
  [[nodiscard]] virtual std::map<std::string, std::string>
  within(std::map<std::string, std::string> parameters, const node_limits& /*limits*/) const {
    return parameters;
  }
  /// The limit, by its name in a plan, that is too small for the plan's completed parameters.
  [[nodiscard]] virtual std::optional<parameter_fault>
  too_small(const node_limits& /*limits*/,
            const std::map<std::string, std::string>& /*parameters*/) const {
    return std::nullopt;
  }
  /// Those of the completing parameters that a cluster made without them takes up, at a restart
  /// that happens for another reason.
  [[nodiscard]] virtual const std::map<std::string, std::string>& defaults() const = 0;
  // -- settings -----------------------------------------------------------------------------------

  /// The configuration of a new cluster.
  [[nodiscard]] virtual std::string configuration(const cluster_settings& wanted) const = 0;
  /// The configuration change that leads from one cluster's settings to the other's.
  [[nodiscard]] virtual std::string settings_change(const cluster_settings& from,
                                                    const cluster_settings& to) const = 0;
  /// The next settings on the way: `to` itself, or intermediate ones if one step is not enough.
  [[nodiscard]] virtual cluster_settings step_towards(const cluster_settings& to,
                                                      const cluster_settings& from) const = 0;
  /// The settings that may be in use while some nodes have taken up `newer` and others have not.
  [[nodiscard]] virtual cluster_settings mixture(const cluster_settings& older,
                                                 const cluster_settings& newer) const = 0;
  /// What a cluster has to be told to follow the leader that listens at `place`, `host:port`; if that is
  /// empty, to follow nobody any more.
  [[nodiscard]] virtual std::string following(const std::string& place) const = 0;
  /// What a cluster has to be told to keep what a cluster that follows it has not received yet, or no
  /// longer. How much it keeps is bounded by its settings.
  [[nodiscard]] virtual std::string retaining(bool keeps) const = 0;
  /// In which order they restart for it, those that have to.
  [[nodiscard]] virtual restart_order order(const cluster_settings& from,
                                            const cluster_settings& to) const = 0;

  // -- users --------------------------------------------------------------------------------------

  [[nodiscard]] virtual std::vector<secret_need> secrets() const = 0;
  /// The members of a binding's `credentials` object.
  [[nodiscard]] virtual json::value credentials_of(const way_in& how,
                                                   json::document& owner) const = 0;

  // -- nodes --------------------------------------------------------------------------------------

  /// The parameters of a request to start this node.
  [[nodiscard]] virtual start_parameters start(const cluster& of, const cluster_settings& settings,
                                               const std::string& node_id) const = 0;

  // -- observations -------------------------------------------------------------------------------

  /// The node that a member key describes.
  [[nodiscard]] virtual result<member> member_in(std::string_view text) const = 0;
  /// The nodes that may take over from a synchronous leader, by the scope's key `sync`.
  [[nodiscard]] virtual std::set<std::string> standbys_in(std::string_view text) const = 0;
  /// The URLs of a node at these addresses. `ours`: the node's cell is known to be Matriarch's.
  /// `by_tls`: the node's control API uses TLS.
  [[nodiscard]] virtual member_urls urls(const node_addresses& at, const std::string& node_id,
                                         bool ours, bool by_tls) const = 0;

  // -- connections --------------------------------------------------------------------------------

  /// The parameter that limits a node's connections, and its greatest value.
  [[nodiscard]] virtual std::string_view connections_parameter() const = 0;
  [[nodiscard]] virtual std::int64_t most_connections() const = 0;
};

/// All engines. The first one is the engine of values that name none: there was only one engine
/// when they were written.
class engine_list {
public:
  /// `all`: at least one engine; each must outlive this list.
  explicit engine_list(std::vector<const engine*> all) : all_(std::move(all)) {}

  [[nodiscard]] const engine& usual() const { return *all_.front(); }
  /// The engine of that name, the first one for an empty name; nullptr if there is none.
  [[nodiscard]] const engine* find(std::string_view name) const {
    auto found = std::ranges::find(all_, name, [](const engine* one) { return one->name(); });
    return name.empty() ? all_.front() : found == all_.end() ? nullptr : *found;
  }
  [[nodiscard]] const std::vector<const engine*>& all() const { return all_; }

private:
  std::vector<const engine*> all_;
};

} // namespace matriarch::model
