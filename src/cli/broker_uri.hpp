#pragma once

#include <string>

#include "base/result.hpp"

namespace matriarch::cli {

/// How an operator's command reaches the broker.
struct broker_access {
  /// The value of $BROKER_URI, or null if it is not set.
  const char* uri = nullptr;
  /// A PEM file of the authorities that may sign the broker's certificate; empty: the system's.
  std::string authority_file = {};
};

/// The broker's address and the credentials, from $BROKER_URI.
struct broker_uri {
  /// `http://host:port` or `https://host:port`, without credentials and without a trailing slash:
  /// it may be printed.
  std::string address;
  std::string username;
  std::string password;
};

/// Reads `http://user:password@host:port`, or the same with `https://`; user and password are percent-decoded. `value` is null
/// if the variable is not set. The failure is one line that never contains the value.
[[nodiscard]] result<broker_uri> parse_broker_uri(const char* value);

} // namespace matriarch::cli
