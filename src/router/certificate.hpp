#pragma once

#include <string>

#include "base/result.hpp"

namespace matriarch::router {

/// Reads a server's certificate and its key from PEM files: `certificate` with those between it and
/// the authority, and `key`, which may be empty if the key is in the same file. What it returns is
/// one text that HAProxy takes. The failure says which file lacks what, or that the two do not
/// belong together.
[[nodiscard]] result<std::string> read_certificate(const std::string& certificate,
                                                   const std::string& key);

/// All certificates in a text, one after the other, without anything else that the text holds.
[[nodiscard]] std::string certificates_in(const std::string& text);

} // namespace matriarch::router
