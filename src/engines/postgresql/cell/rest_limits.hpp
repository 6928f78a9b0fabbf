#pragma once

#include <string>

namespace matriarch::engines::postgresql {

/// The text of a Python module beside the guard of the leader's key, which loads it: it keeps those
/// who only hold connections to Patroni's REST API from holding up the others.
///
/// Patroni 3.0.2 answers each connection by a thread and waits as long as it takes, for the TLS
/// handshake too; and only five connections may wait to be accepted, so that the sixth of a moment is
/// tried again by its kernel a second later. With this, thousands may wait, who says nothing is gone
/// after seconds, and of very many of them the oldest goes first.
[[nodiscard]] std::string rest_limits_text();

/// The module's name.
inline const std::string rest_limits_module = "rest_limits";

} // namespace matriarch::engines::postgresql
