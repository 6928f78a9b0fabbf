#pragma once

#include <functional>
#include <string>

#include "http/server.hpp"
#include "model/ip_range.hpp"

namespace matriarch::http {

/// Whether somebody's word for whom it passes on counts.
using proxy_trust = std::function<bool(const model::ip_address&)>;

/// The client that a request came from through proxies: of the addresses in X-Forwarded-For, from
/// the last one on, the first that is none of a trusted proxy's. What stands before it anybody can
/// have written. Empty if the sender itself is no trusted proxy, or says nothing that can be read.
[[nodiscard]] std::string forwarded_client(const request& got, const proxy_trust& is_trusted);

} // namespace matriarch::http
