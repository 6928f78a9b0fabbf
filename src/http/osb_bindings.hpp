#pragma once

#include <string>

#include "http/server.hpp"
#include "model/engine.hpp"
#include "model/observation.hpp"
#include "model/requests.hpp"

/// The Open Service Broker API's answers about bindings.
namespace matriarch::http::osb {

/// What a binding's answer is made from.
struct binding_view {
  const model::instance_snapshot& known;
  const model::binding& which;
  const model::engine& engine; ///< the engine of its cluster
  const std::string& host;     ///< the host of the routers
  /// The certificates, as PEM, of the authorities that may have signed the database's certificate.
  std::string authority = {};
  /// Whether the plan gives applications the superuser.
  bool with_superuser = false;
};
/// A new binding (201) or an existing one (200), with its credentials.
[[nodiscard]] response binding(int status, const binding_view& shown);
/// The binding for a later GET, with its parameters; 404 unless it is ready.
[[nodiscard]] response fetched_binding(const binding_view& shown);
/// The state is `failed` once the operation takes longer than model::longest_binding_operation;
/// `now` is the system's time.
[[nodiscard]] response binding_last_operation(const model::instance_snapshot& known,
                                              const std::string& binding_id, const request& poll,
                                              model::wall_time now);
/// The same after the instance is gone.
[[nodiscard]] response binding_last_operation(const model::verdict& gone,
                                              const std::string& binding_id, const request& poll);
/// 404, or 503 if the binding exists but cannot be read.
[[nodiscard]] response no_binding(const model::instance_snapshot& known,
                                  const std::string& binding_id);

} // namespace matriarch::http::osb
