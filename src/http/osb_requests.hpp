#pragma once

#include <optional>
#include <string>
#include <variant>

#include "http/parameter_schemas.hpp"
#include "http/server.hpp"
#include "model/catalog.hpp"
#include "model/observation.hpp"
#include "model/requests.hpp"

/// The Open Service Broker API's requests and answers as text: everything that depends on their
/// form, nothing that depends on what exists.
namespace matriarch::http::osb {

/// `{"error"?, "description"}` with a status.
[[nodiscard]] response error(int status, const std::string& description,
                             const std::string& code = {});

/// What requests are checked against.
struct rules {
  const model::catalog& catalog;
  const std::vector<model::cell_view>& cells;
  const parameter_schemas& schemas;
  bool strict = true;
  /// The originating identity of the request, `platform {json}`, or empty.
  std::string requested_by = {};
};

/// A request that can be asked, and whether the platform can wait for the end of its operation.
template <class Request>
struct parsed {
  Request asked;
  bool accepts_incomplete = false;
};

/// A checked request, or the answer that says what is wrong with it.
template <class Request>
using checked = std::variant<parsed<Request>, response>;

[[nodiscard]] checked<model::provision_request> provision(const request& got, const std::string& id,
                                                          const rules& by);
[[nodiscard]] checked<model::update_request> update(const request& got, const std::string& id,
                                                    const rules& by);
[[nodiscard]] checked<model::deprovision_request>
deprovision(const request& got, const std::string& id, const rules& by);
[[nodiscard]] checked<model::bind_request> bind(const request& got, const std::string& id,
                                                const std::string& binding_id, const rules& by);
[[nodiscard]] checked<model::unbind_request> unbind(const request& got, const std::string& id,
                                                    const std::string& binding_id, const rules& by);

/// The answer to everything but success: 400, 404, 409, 410, 422 or 503.
[[nodiscard]] response refusal(const model::verdict& said);
/// 202 with the operation.
[[nodiscard]] response accepted(const std::string& operation_id);

[[nodiscard]] response last_operation(const model::instance_snapshot& known);
/// last_operation of something that is gone, whose removal was `operation_id` if anybody was told:
/// that it succeeded to a poll that names it, for there are clients that take 410 for an error, and
/// else `status`.
[[nodiscard]] response end_of_removal(const std::string& operation_id, const request& poll,
                                      int status, const std::string& what);
[[nodiscard]] response instance(const model::instance_snapshot& known);

/// How a binding's answer is made.
struct binding_view {
  const model::instance_snapshot& known;
  const model::binding& which;
  const std::string& host; ///< where the routers are reached
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
