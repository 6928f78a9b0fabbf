#pragma once

#include <string>

#include "model/result.hpp"

namespace matriarch::cli {

/// Where $BROKER_URI says that the broker is, and who asks.
struct broker_uri {
  /// `http://host:port`, without credentials and without a slash at its end: it may be printed.
  std::string address;
  std::string username;
  std::string password;
};

/// Reads `http://user:password@host:port`; user and password are percent-decoded. `value` is null
/// if the variable is not set. The failure is one line that never contains the value.
[[nodiscard]] result<broker_uri> parse_broker_uri(const char* value);

} // namespace matriarch::cli
