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
  /// For `https://`: who may have signed the cell's certificate, as PEM; empty: the fleet's authority,
  /// and the certificate has to be that cell's.
  std::string authority = {};
};

/// Whether the cell has to show a certificate of the fleet's authority, as that cell.
[[nodiscard]] bool shows_the_fleets_own(const cell_settings& cell);

/// A request whose URL is a path so far, to that cell: where it is, and who has to answer there. The
/// fleet's authority, PEM, is for those that show its certificates; without one nobody can be
/// recognised, and the request fails before it is sent.
[[nodiscard]] base::outgoing addressed_to(const cell_settings& cell, base::outgoing what,
                                          const std::string& fleets_authority);

/// What the certificates of nodes are made with.
struct certification {
  /// What applications call the routers; empty: nodes get no certificates.
  std::string public_host;
  const status_board* board = nullptr; ///< tells who signs
  std::function<model::wall_time()> now;

  /// What the certificate of a node names: its clients reach it through the routers, the broker by
  /// its id, and other members at its address.
  [[nodiscard]] std::set<std::string> hosts_of(const std::string& node_id,
                                               const std::string& address) const {
    return {public_host, node_id, address};
  }
};

/// All plans of an engine, whose settings each cell judges.
struct judged_plans {
  const model::engine* engine = nullptr;
  std::vector<model::plan_settings> plans;
};
using plans_to_judge = std::shared_ptr<const judged_plans>;

/// Speaks with one cell: a bounded number of orders at a time, each with a time-out, and a question
/// after its health every few seconds, of which it tells the cell directory, as it does of the plans
/// that the cell's nodes would not start with. A node is started with
/// a certificate of the fleet's authority, if its cell takes one: the cell makes the key and keeps
/// it.
[[nodiscard]] cell_agent_actor spawn_cell_agent(caf::actor_system& system, cell_settings cell,
                                                http_actor http, certification certificates,
                                                plans_to_judge plans,
                                                cell_directory_actor directory);

} // namespace matriarch::actors
