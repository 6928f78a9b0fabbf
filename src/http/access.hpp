#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "http/server.hpp"

namespace matriarch::http {

/// The credentials that give access to a part of the API. There may be several, so that they can be
/// changed without an interruption: add the new one, let the callers change, remove the old one.
struct credential_set {
  struct user {
    std::string username;
    std::string password;
  };
  std::vector<user> users;         ///< by basic authentication (RFC 7617)
  std::vector<std::string> tokens; ///< by `Authorization: Bearer` (RFC 6750)

  [[nodiscard]] bool empty() const { return users.empty() && tokens.empty(); }
};

using secret_digest = std::array<unsigned char, 32>; ///< SHA-256

/// The credentials in a request.
struct authorization {
  /// The name from basic authentication, not yet verified; for the audit trail.
  std::string username;
  /// Not set if the header is missing or cannot be read.
  std::optional<secret_digest> secret;
};

[[nodiscard]] authorization read_authorization(const request& got);

/// Admits known credentials. It always compares with all of them, by digests of equal length, in
/// constant time: the time taken reveals neither how long a secret is, nor how much of it was
/// right, nor whose it was.
class gate {
public:
  explicit gate(const credential_set& known);

  /// The user's name, or `token 1` for the first token; nothing if the credentials are unknown.
  [[nodiscard]] std::optional<std::string> admit(const authorization& who) const;

private:
  std::vector<std::pair<secret_digest, std::string>> known_;
};

} // namespace matriarch::http
