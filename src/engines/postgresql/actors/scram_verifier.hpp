#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace matriarch::engines::postgresql {

/// Whether a verifier, as pg_authid has it, is one that libpq makes of this password, and lets a
/// client in who has it. Roles may write their own verifiers: one of any other form, and one that
/// would cost more or less work than libpq's, is none.
[[nodiscard]] bool is_verifier_of(std::string_view verifier, const std::string& password);

/// A verifier of this password, as libpq makes it but in a tenth of its time; nothing if that takes
/// more than OpenSSL knows, which are characters beyond ASCII.
[[nodiscard]] std::optional<std::string> make_verifier(const std::string& password);

/// Which passwords are known to be those of which verifiers: to find out takes milliseconds by
/// design, and is asked for each role of an instance whenever one of them changes.
class known_passwords {
public:
  /// is_verifier_of(), from memory where it was true before. From any thread.
  [[nodiscard]] bool match(const std::string& verifier, const std::string& password);

private:
  std::mutex guard_;
  std::set<std::string> matching_; ///< digests of verifier and password together
};

} // namespace matriarch::engines::postgresql
