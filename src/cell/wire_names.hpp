#pragma once

/// Names in a cell's HTTP interface and files from the time when there was only one engine: brokers
/// and cells of earlier releases know them.
namespace matriarch::cell::wire {

/// The cluster that a node joins or starts, among a PUT's parameters.
inline constexpr const char* scope = "PATRONI_SCOPE";
/// Whether a node's own API speaks TLS, once it has a certificate of the fleet's authority.
/// In `/healthz`: the agent can stop a node, keep it, and say how far its data is.
inline constexpr const char* halts = "halts";
inline constexpr const char* api_tls = "patroni_tls";

} // namespace matriarch::cell::wire
