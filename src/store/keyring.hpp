#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace matriarch::store {

/// Seals secrets in the values that this program writes to etcd: AES-256-GCM, each with a fresh
/// nonce, as `sealed:<key id>:<base64 of nonce, ciphertext and tag>`. Seals with the first key, and
/// opens with any of them. A keyring without keys leaves texts as they are.
class keyring {
public:
  /// No encryption.
  keyring() = default;

  /// Reads keys, one a line, each 64 hexadecimal digits (256 bits), the newest first. Empty lines
  /// and lines that begin with `#` are skipped. The failure names the line but never the key.
  [[nodiscard]] static result<keyring> parse(std::string_view text);

  /// `place` tells where the secret belongs (an instance's id and a field). A secret that was
  /// copied to another place cannot be opened.
  [[nodiscard]] std::string seal(std::string_view secret, std::string_view place) const;

  /// A text that is not sealed is returned as it is, so that encryption can be turned on later. The
  /// failure says that a key is missing, or that the text was altered, but never contains the text.
  [[nodiscard]] result<std::string> open(std::string_view sealed, std::string_view place) const;

  /// Whether a text is as seal() would write it now: sealed with the newest key, or not sealed if
  /// there is no key.
  [[nodiscard]] bool seals_like(std::string_view sealed) const;

  /// Whether a text has the form of a sealed one.
  [[nodiscard]] static bool is_sealed(std::string_view text);

  /// Whether there is a key to seal with.
  [[nodiscard]] bool encrypts() const { return !keys_.empty(); }

private:
  struct key {
    std::string id; ///< the start of the key's SHA-256: tells keys apart without revealing them
    std::array<unsigned char, 32> bytes;
  };
  std::vector<key> keys_; ///< the newest first
};

} // namespace matriarch::store
