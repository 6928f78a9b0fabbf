#pragma once

#include <functional>
#include <string>

#include "http/server.hpp"
#include "model/ip_range.hpp"

namespace matriarch::http {

/// Whether an address belongs to a trusted proxy.
using proxy_trust = std::function<bool(const model::ip_address&)>;

/// The client that a request came from through proxies: going back from the last address in
/// X-Forwarded-For, the first that is not a trusted proxy's. Anybody can have written what stands
/// before it. Empty if the sender itself is no trusted proxy, or if its header cannot be read.
[[nodiscard]] std::string forwarded_client(const request& got, const proxy_trust& is_trusted);

} // namespace matriarch::http
