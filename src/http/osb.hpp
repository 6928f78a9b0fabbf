#pragma once

#include <optional>
#include <string>
#include <variant>

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
  bool strict = true;
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

[[nodiscard]] response catalog(const model::catalog& offered, std::size_t cell_count);
[[nodiscard]] response last_operation(const model::instance_snapshot& known);
[[nodiscard]] response instance(const model::instance_snapshot& known);
/// The credentials of a binding, with status 200, or 201 for a new one.
[[nodiscard]] response binding(int status, const model::instance_snapshot& known,
                               const model::binding& which, const std::string& host);

} // namespace matriarch::http::osb
