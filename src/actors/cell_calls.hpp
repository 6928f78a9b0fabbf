#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "actors/cell_agent.hpp"
#include "actors/messages.hpp"
#include "base/event_loop.hpp"

/// What is asked of a cell, and what its answers mean: values alone. The URLs are paths so far, see
/// addressed_to().
namespace matriarch::actors {

/// A request about one node; `rest` is what comes after its path.
[[nodiscard]] base::outgoing node_request(const cell_settings& cell, std::string verb,
                                          const std::string& node_id, const std::string& rest,
                                          const std::string& scope, const std::string& fleet);
[[nodiscard]] base::outgoing start_request(const cell_settings& cell, const start_order& order);
[[nodiscard]] base::outgoing removal_request(const cell_settings& cell, const removal_order& order);
[[nodiscard]] base::outgoing halt_request(const cell_settings& cell, const halt_order& order);
[[nodiscard]] base::outgoing orphan_request(const cell_settings& cell, const orphan_order& order);

/// What a cell has said instead of yes, in words.
[[nodiscard]] std::string description_in(const base::outcome& came);
/// Of a request that got no answer. Tenants are told without the address that the outcome names.
[[nodiscard]] cell_answer no_answer(const base::outcome& came);
[[nodiscard]] cell_answer judge_start(const base::outcome& came);
/// A node has stopped only if its cell says how far it was.
[[nodiscard]] cell_answer judge_halt(const base::outcome& came);
[[nodiscard]] cell_answer judge_removal(const base::outcome& came);

/// A cell of another make need not have /healthz: any answer below 500 says that it is there.
/// `engine_version` is what it says by the engine's name; nothing if that is empty.
[[nodiscard]] cell_health health_in(const std::string& guid, const base::outcome& came,
                                    std::string_view engine);
/// Nothing of a cell of another make, which has no list; an unreadable one is none either.
[[nodiscard]] std::optional<cell_listing> listing_in(const std::string& guid,
                                                     const base::outcome& came);

} // namespace matriarch::actors
