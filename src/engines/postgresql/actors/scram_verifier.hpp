#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace matriarch::engines::postgresql {

/// Whether a verifier from pg_authid is one that libpq makes of this password, so that a client
/// with the password is let in. Roles may write their own verifiers: one of another form, or with
/// another cost than libpq's, is not accepted.
[[nodiscard]] bool is_verifier_of(std::string_view verifier, const std::string& password);

/// A verifier of this password as libpq makes it, in a tenth of libpq's time; nothing for passwords
/// with characters beyond ASCII, which OpenSSL does not prepare.
[[nodiscard]] std::optional<std::string> make_verifier(const std::string& password);

/// Remembers which verifiers belong to which passwords: checking one takes milliseconds by design,
/// and is needed for each role of an instance whenever any of them changes.
class known_passwords {
public:
  /// Like is_verifier_of(), but remembers positive results. May be called from any thread.
  [[nodiscard]] bool match(const std::string& verifier, const std::string& password);

private:
  std::mutex guard_;
  std::set<std::string> matching_; ///< digests of verifier and password together
};

} // namespace matriarch::engines::postgresql
