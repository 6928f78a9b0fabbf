#pragma once

#include <optional>
#include <string>

#include "base/json.hpp"
#include "base/result.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// The platform's user behind a request (OSB 2.17, "Originating Identity").
struct originating_identity {
  std::string platform; ///< `cloudfoundry`, `kubernetes`, …
  json::document value; ///< an object with members that the platform defines

  /// `platform {json}`, with the keys sorted.
  [[nodiscard]] std::string text() const;
};

/// From the header X-Broker-API-Originating-Identity, if there is one; the failure says what is
/// wrong with it.
[[nodiscard]] result<std::optional<originating_identity>>
read_originating_identity(const request& got);

} // namespace matriarch::http
