#pragma once

#include <string>

#include "http/server.hpp"
#include "model/engine.hpp"
#include "model/observation.hpp"
#include "model/requests.hpp"

/// The Open Service Broker API's answers about bindings.
namespace matriarch::http::osb {

/// How a binding's answer is made.
struct binding_view {
  const model::instance_snapshot& known;
  const model::binding& which;
  const model::engine& engine; ///< what its cluster runs
  const std::string& host;     ///< where the routers are reached
  /// The certificates of who may have signed what clients are shown there, as PEM.
  std::string authority = {};
  /// Whether the plan lets applications have the superuser.
  bool with_superuser = false;
};
/// A new binding (201) or one that was there (200), with its credentials.
[[nodiscard]] response binding(int status, const binding_view& shown);
/// The same for a later reader, with its parameters; 404 unless it is ready.
[[nodiscard]] response fetched_binding(const binding_view& shown);
/// `failed` once it takes longer than model::longest_binding_operation; `now` is the system's time.
[[nodiscard]] response binding_last_operation(const model::instance_snapshot& known,
                                              const std::string& binding_id, const request& poll,
                                              model::wall_time now);
/// The same once there is no instance any more.
[[nodiscard]] response binding_last_operation(const model::verdict& gone,
                                              const std::string& binding_id, const request& poll);
/// 404; 503 if there is one that cannot be read.
[[nodiscard]] response no_binding(const model::instance_snapshot& known,
                                  const std::string& binding_id);

} // namespace matriarch::http::osb
