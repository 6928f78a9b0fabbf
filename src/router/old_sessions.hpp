#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "router/haproxy_state.hpp"

namespace matriarch::router {

/// The sessions that a worker from before a reload has to end, by HAProxy's ids: those with servers
/// that the current worker does not use, or cannot reach. An old worker accepts no commands about
/// its servers and does not check them, so nothing else ends sessions with a server that no longer
/// leads. `sessions` and `servers` are the old worker's answers to `show sess` and `show servers
/// state`, `now` is the current worker's state. `port_of` returns the port that a proxy of the old
/// worker served: nothing if no such port exists any more, 0 if its sessions must be left alone.
[[nodiscard]] std::vector<std::string>
sessions_to_end(std::string_view sessions, std::string_view servers, const proxy_state& now,
                const std::function<std::optional<std::uint16_t>(std::string_view)>& port_of);

} // namespace matriarch::router
