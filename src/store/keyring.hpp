#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace matriarch::store {

/// Seals the secrets within the values that this program writes to etcd: AES-256-GCM, a fresh nonce
/// each, `sealed:<key id>:<base64 of nonce, text and tag>`. A keyring without keys leaves texts as
/// they are. What is sealed by any of its keys it opens; it seals with the first.
class keyring {
public:
  /// No encryption.
  keyring() = default;

  /// Reads keys, one a line, each 64 hexadecimal digits (256 bits), the newest first; empty lines
  /// and lines that begin with `#` do not count. The failure names the line and never the key.
  [[nodiscard]] static result<keyring> parse(std::string_view text);

  /// `place` says where the secret belongs (an instance's id and a field): moved to another place,
  /// it does not open.
  [[nodiscard]] std::string seal(std::string_view secret, std::string_view place) const;

  /// A text that is not sealed is given back as it is, so that encryption can be turned on later.
  /// The failure says that a key is missing, or that the text was altered; never the text.
  [[nodiscard]] result<std::string> open(std::string_view sealed, std::string_view place) const;

  /// Whether a text is as seal() would leave it now: sealed with the newest key, or not at all where
  /// there is none.
  [[nodiscard]] bool seals_like(std::string_view sealed) const;

  /// Whether a text has the form of a sealed one.
  [[nodiscard]] static bool is_sealed(std::string_view text);

  /// Whether there is a key to seal with.
  [[nodiscard]] bool encrypts() const { return !keys_.empty(); }

private:
  struct key {
    std::string id; ///< the start of the key's SHA-256: tells keys apart, and nothing of them
    std::array<unsigned char, 32> bytes;
  };
  std::vector<key> keys_; ///< the newest first
};

} // namespace matriarch::store
