#pragma once

#include <string>

namespace matriarch::engines::postgresql {

/// The text of a Python module, loaded by the guard of the leader's key. It keeps clients with idle
/// connections to Patroni's REST API from holding up others.
///
/// Patroni 3.0.2 serves each connection in a thread and waits without limit, also for the TLS
/// handshake. Only five connections may wait to be accepted; the kernel retries a sixth one a
/// second later. With this module thousands may wait, silent clients are disconnected after
/// seconds, and with very many idle connections the oldest one is closed first.
[[nodiscard]] std::string rest_limits_text();

/// The module's name.
inline const std::string rest_limits_module = "rest_limits";

} // namespace matriarch::engines::postgresql
