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

/// What is decided differently for each engine, as pure functions of values.
namespace matriarch::model {

/// What the clusters of an engine can do; what they cannot is refused, or said in words.
struct capabilities {
  bool replicas = false;          ///< a cluster can have more than one node
  bool switch_over = false;       ///< another node can be made the leader
  bool synchronous = false;       ///< a leader can wait for a replica before it acknowledges
  bool users_per_binding = false; ///< each binding can have a user of its own
  bool read_only = false;         ///< such a user may be one that only reads
  bool follows = false;           ///< a cluster can follow another one
  bool archive = false;           ///< what is written can be kept, to restore from
};

/// A parameter as an operator wrote it.
using given_parameters = std::vector<std::pair<std::string, std::string>>;

/// Why a plan cannot have a parameter.
struct parameter_fault {
  std::string name; ///< as it was written
  std::string words;
};

/// A plan's parameters as the engine calls them, or what is wrong with the first that is.
struct checked_parameters {
  std::map<std::string, std::string> parameters = {};
  std::optional<parameter_fault> fault = {};
};

/// What a cell is told to start a node with, by name, in order.
using start_parameters = std::vector<std::pair<std::string, std::string>>;

/// Where a node is reached.
struct member_urls {
  std::string database; ///< in the form of its own member key
  std::string login;    ///< the same with what is to be checked of the server
  std::string control;  ///< where it is asked and told
};

/// A secret that each cluster is made with.
struct secret_need {
  std::string_view name;
  std::string_view username;
};

/// How applications reach a cluster.
struct way_in {
  credentials user;
  std::string host; ///< of the routers
  int port = 0;
  std::string authority = {}; ///< who may have signed what is shown there, PEM
};

/// The decisions of an engine.
class engine {
public:
  engine() = default;
  virtual ~engine() = default;
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;

  /// What plans and records call it: small letters.
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// What people call it.
  [[nodiscard]] virtual std::string_view title() const = 0;
  [[nodiscard]] virtual capabilities can() const = 0;

  // -- plans --------------------------------------------------------------------------------------

  /// What a plan may set, in the engine's own words.
  [[nodiscard]] virtual checked_parameters check(const given_parameters& given) const = 0;
  /// With what every cluster has unless its plan says otherwise.
  [[nodiscard]] virtual std::map<std::string, std::string>
  completed(std::map<std::string, std::string> parameters) const = 0;
  /// With what lets a node work within its plan's limits, before they are completed. What the plan says
  /// itself stays.
  [[nodiscard]] virtual std::map<std::string, std::string>
  within(std::map<std::string, std::string> parameters, const node_limits& /*limits*/) const {
    return parameters;
  }
  /// Which limit, by its name in a plan, is too small for what the plan has, once it is completed.
  [[nodiscard]] virtual std::optional<parameter_fault>
  too_small(const node_limits& /*limits*/,
            const std::map<std::string, std::string>& /*parameters*/) const {
    return std::nullopt;
  }
  /// What of that a cluster takes up that was made without it, at a restart of its own choice.
  [[nodiscard]] virtual const std::map<std::string, std::string>& defaults() const = 0;
  // -- settings -----------------------------------------------------------------------------------

  /// What a new cluster is started with.
  [[nodiscard]] virtual std::string configuration(const cluster_settings& wanted) const = 0;
  /// What a cluster has to be told to go from one to the other.
  [[nodiscard]] virtual std::string change(const cluster_settings& from,
                                           const cluster_settings& to) const = 0;
  /// The settings to go to next on the way: `to` itself, or others where it cannot be one step.
  [[nodiscard]] virtual cluster_settings step_towards(const cluster_settings& to,
                                                      const cluster_settings& from) const = 0;
  /// What nodes may have of which some have taken up `newer` and some have not.
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
  /// What a binding tells an application: an object's members.
  [[nodiscard]] virtual json::value credentials_of(const way_in& how,
                                                   json::document& owner) const = 0;

  // -- nodes --------------------------------------------------------------------------------------

  /// What a node of this cluster is started with.
  [[nodiscard]] virtual start_parameters start(const cluster& of, const cluster_settings& settings,
                                               const std::string& node_id) const = 0;

  // -- what is seen of a cluster -------------------------------------------------------------------

  /// What a member's key says of it.
  [[nodiscard]] virtual result<member> member_in(std::string_view text) const = 0;
  /// Who, by the scope's key `sync`, may take over from a leader that waits for replicas.
  [[nodiscard]] virtual std::set<std::string> standbys_in(std::string_view text) const = 0;
  /// How a node at these places is reached. `ours`: its cell is known to be one of ours; `by_tls`: it is
  /// asked by TLS.
  [[nodiscard]] virtual member_urls urls(const node_addresses& at, const std::string& node_id,
                                         bool ours, bool by_tls) const = 0;

  // -- connections --------------------------------------------------------------------------------

  /// The parameter that says how many connections a node takes, and the greatest that it can be.
  [[nodiscard]] virtual std::string_view connections_parameter() const = 0;
  [[nodiscard]] virtual std::int64_t most_connections() const = 0;
};

/// All engines that there are. The first is that of what names none, as everything did before there
/// were several.
class engine_list {
public:
  /// At least one; they live longer than this.
  explicit engine_list(std::vector<const engine*> all) : all_(std::move(all)) {}

  [[nodiscard]] const engine& usual() const { return *all_.front(); }
  /// nullptr if there is none of that name.
  [[nodiscard]] const engine* find(std::string_view name) const {
    auto found = std::ranges::find(all_, name, [](const engine* one) { return one->name(); });
    return name.empty() ? all_.front() : found == all_.end() ? nullptr : *found;
  }
  [[nodiscard]] const std::vector<const engine*>& all() const { return all_; }

private:
  std::vector<const engine*> all_;
};

} // namespace matriarch::model
