#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "actors/cell_agent.hpp"
#include "actors/messages.hpp"
#include "base/event_loop.hpp"

/// Requests to a cell and the meaning of its answers, as pure functions. The URLs are only paths;
/// see addressed_to().
namespace matriarch::actors {

/// A request about one node; `rest` is appended to the node's path.
[[nodiscard]] base::outgoing node_request(const cell_settings& cell, std::string verb,
                                          const std::string& node_id, const std::string& rest,
                                          const std::string& scope, const std::string& fleet);
[[nodiscard]] base::outgoing start_request(const cell_settings& cell, const start_order& order);
[[nodiscard]] base::outgoing removal_request(const cell_settings& cell, const removal_order& order);
[[nodiscard]] base::outgoing halt_request(const cell_settings& cell, const halt_order& order);
[[nodiscard]] base::outgoing orphan_request(const cell_settings& cell, const orphan_order& order);

/// The cell's error message.
[[nodiscard]] std::string description_in(const base::outcome& came);
/// The answer for a request that got none. Its text for tenants leaves out the address in the
/// outcome.
[[nodiscard]] cell_answer no_answer(const base::outcome& came);
[[nodiscard]] cell_answer judge_start(const base::outcome& came);
/// A node counts as stopped only if its cell reports the node's last position.
[[nodiscard]] cell_answer judge_halt(const base::outcome& came);
[[nodiscard]] cell_answer judge_removal(const base::outcome& came);

/// A foreign cell need not have /healthz: any answer below 500 means that the cell is reachable.
/// `engine_version` is the health's member of the engine's name, if that name is given.
[[nodiscard]] cell_health health_in(const std::string& guid, const base::outcome& came,
                                    std::string_view engine);
/// Nothing if the answer is no readable list, as of a foreign cell.
[[nodiscard]] std::optional<cell_listing> listing_in(const std::string& guid,
                                                     const base::outcome& came);

} // namespace matriarch::actors
