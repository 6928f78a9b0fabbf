#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "router/haproxy_state.hpp"

namespace matriarch::router {

/// The sessions that a worker of before a reload has to end, by HAProxy's ids. Such a worker takes no
/// command about its servers and does not check them, so that nobody else ends sessions with a server
/// that leads no more: those of servers that the current worker does not use, or only in vain.
/// `sessions` and `servers` are what the old worker answers to `show sess` and `show servers state`,
/// `now` is what the current one does, and `port_of` tells the port that a proxy of the old worker
/// served; nothing if there is none any more, or 0 if its sessions are not looked after here.
[[nodiscard]] std::vector<std::string>
sessions_to_end(std::string_view sessions, std::string_view servers, const proxy_state& now,
                const std::function<std::optional<std::uint16_t>(std::string_view)>& port_of);

} // namespace matriarch::router
