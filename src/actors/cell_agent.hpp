#pragma once

#include "actors/environment.hpp"
#include "actors/interfaces.hpp"
#include "model/fitness.hpp"

namespace matriarch::actors {

struct cell_settings {
  std::string guid;
  std::string availability_zone;
  std::string uri; ///< without a slash at its end
  std::string username;
  std::string password;
  /// For `https://`: PEM of the authorities that may sign the cell's certificate. Empty: the
  /// fleet's authority signs, and the certificate must name this cell.
  std::string authority = {};
};

/// Whether the cell must show a certificate that the fleet's authority signed for this cell.
[[nodiscard]] bool shows_the_fleets_own(const cell_settings& cell);

/// Completes a request to that cell, whose URL is only a path so far: adds the cell's address and
/// the authority that must have signed the cell's certificate. `fleets_authority` (PEM) is used for
/// cells that show the fleet's certificates; if it is empty, such a cell cannot be authenticated
/// and the request fails before it is sent.
[[nodiscard]] base::outgoing addressed_to(const cell_settings& cell, base::outgoing what,
                                          const std::string& fleets_authority);

/// What is needed to make nodes' certificates.
struct certification {
  /// The host name of the routers as applications see it; empty: nodes get no certificates.
  std::string public_host;
  const status_board* board = nullptr; ///< holds the signing authorities
  std::function<model::wall_time()> now;

  /// The names in a node's certificate: clients connect through the routers, the broker checks the
  /// node's id, and other members connect to its address.
  [[nodiscard]] std::set<std::string> hosts_of(const std::string& node_id,
                                               const std::string& address) const {
    return {public_host, node_id, address};
  }
};

/// All plans of an engine. Each cell judges their settings.
struct judged_plans {
  const model::engine* engine = nullptr;
  std::vector<model::plan_settings> plans;
};
using plans_to_judge = std::shared_ptr<const judged_plans>;

/// Talks to one cell. Sends a bounded number of orders at a time, each with a time-out. Asks for
/// the cell's health every few seconds and reports it to the cell directory, with the plans whose
/// settings keep the cell's nodes from starting. Gives each node a certificate of the fleet's
/// authority before its start, if the cell takes one: the cell makes the key and keeps it.
[[nodiscard]] cell_agent_actor spawn_cell_agent(caf::actor_system& system, cell_settings cell,
                                                http_actor http, certification certificates,
                                                plans_to_judge plans,
                                                cell_directory_actor directory);

} // namespace matriarch::actors
