#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "http/parameter_schemas.hpp"
#include "http/server.hpp"
#include "model/catalog.hpp"
#include "model/observation.hpp"
#include "model/requests.hpp"

/// Parses the Open Service Broker API's requests: all rules about their form, none about what
/// exists.
namespace matriarch::http::osb {

/// What requests are checked against.
struct rules {
  const model::catalog& catalog;
  const std::vector<model::cell_view>& cells;
  const parameter_schemas& schemas;
  bool strict = true;
  /// The originating identity of the request, `platform {json}`, or empty.
  std::string requested_by = {};
};

/// A valid request, and whether the platform can poll for the end of its operation.
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

} // namespace matriarch::http::osb
