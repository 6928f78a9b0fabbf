#pragma once

#include <string>

#include "model/result.hpp"

namespace matriarch::cell {

/// A private key with its certificate, both as PEM text.
struct key_pair {
  std::string key;
  std::string certificate;
};

/// Makes a new key (EC P-256) with a certificate that it signs itself, for a server called `name`
/// (64 bytes at most) that listens on `host`, an IP address or a host's name. Nobody can check who
/// signed it; it is there so that clients can insist on encryption (`sslmode=require`). The failure
/// says which step OpenSSL refused.
[[nodiscard]] result<key_pair> make_key_pair(const std::string& name, const std::string& host);

} // namespace matriarch::cell
