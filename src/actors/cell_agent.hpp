#pragma once

#include "actors/interfaces.hpp"

namespace matriarch::actors {

struct cell_settings {
  std::string guid;
  std::string availability_zone;
  std::string uri; ///< without a slash at its end
  std::string username;
  std::string password;
};

/// Speaks with one cell: a bounded number of orders at a time, each with a time-out, and a question
/// after its health every few seconds, of which it tells the cell directory.
[[nodiscard]] cell_agent_actor spawn_cell_agent(caf::actor_system& system, cell_settings cell,
                                                http_actor http, cell_directory_actor directory);

} // namespace matriarch::actors
