#include "engines/postgresql/actors/scram_verifier.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "base/base64.hpp"
#include "model/names.hpp"

namespace matriarch::engines::postgresql {

namespace {

using bytes = std::vector<unsigned char>;

// RFC 5802 and 7677, with libpq's parameters: `SCRAM-SHA-256$4096:<salt>$<stored key>:<server
// key>`.
constexpr std::string_view beginning = "SCRAM-SHA-256$4096:";
constexpr int iterations = 4096;
constexpr std::size_t salt_size = 16;
constexpr std::size_t key_size = 32; // SHA-256
// Base64 turns three bytes into four characters, and pads the rest.
constexpr std::size_t salt_digits = 24;
constexpr std::size_t key_digits = 44;

/// Exactly `size` bytes in their one base64 form; nothing else.
std::optional<bytes> from_base64(std::string_view text, std::size_t size) {
  auto decoded = base::from_canonical_base64(text);
  if (!decoded || decoded->size() != size)
    return std::nullopt;
  return bytes{decoded->begin(), decoded->end()};
}

std::string to_base64(const bytes& raw) {
  return base::to_base64({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

bytes keyed(const bytes& key, std::string_view label) {
  bytes digest(key_size);
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(label.data()), label.size(), digest.data(), nullptr);
  return digest;
}

/// The part of a password that a server stores.
struct kept_keys {
  bytes stored;
  bytes server;
};

std::optional<kept_keys> keys_of(const std::string& password, const bytes& salt) {
  bytes salted(key_size);
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), salt.data(),
                        static_cast<int>(salt.size()), iterations, EVP_sha256(),
                        static_cast<int>(salted.size()), salted.data())
      != 1)
    return std::nullopt;
  auto client_key = keyed(salted, "Client Key");
  bytes stored(key_size);
  EVP_Digest(client_key.data(), client_key.size(), stored.data(), nullptr, EVP_sha256(), nullptr);
  return kept_keys{std::move(stored), keyed(salted, "Server Key")};
}

bool same(const bytes& one, const bytes& other) {
  return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

} // namespace

bool is_verifier_of(std::string_view verifier, const std::string& password) {
  if (!verifier.starts_with(beginning)
      || verifier.size() != beginning.size() + salt_digits + 1 + key_digits + 1 + key_digits)
    return false;
  verifier.remove_prefix(beginning.size());
  if (verifier[salt_digits] != '$' || verifier[salt_digits + 1 + key_digits] != ':')
    return false;
  auto salt = from_base64(verifier.substr(0, salt_digits), salt_size);
  auto stored = from_base64(verifier.substr(salt_digits + 1, key_digits), key_size);
  auto server = from_base64(verifier.substr(salt_digits + 1 + key_digits + 1), key_size);
  if (!salt || !stored || !server)
    return false;
  auto keys = keys_of(password, *salt);
  return keys && same(keys->stored, *stored) && same(keys->server, *server);
}

std::optional<std::string> make_verifier(const std::string& password) {
  // Other passwords have several forms, of which SASLprep (RFC 4013) chooses one.
  bool is_plain = std::ranges::all_of(password, [](char c) { return c >= ' ' && c <= '~'; });
  bytes salt(salt_size);
  if (!is_plain || password.empty() || RAND_bytes(salt.data(), salt_size) != 1)
    return std::nullopt;
  auto keys = keys_of(password, salt);
  if (!keys)
    return std::nullopt;
  return std::string{beginning} + to_base64(salt) + "$" + to_base64(keys->stored) + ":"
         + to_base64(keys->server);
}

bool known_passwords::match(const std::string& verifier, const std::string& password) {
  constexpr std::size_t digest_digits = 64;
  // Enough for the roles of thousands of instances. A forgotten entry only costs time.
  constexpr std::size_t most_remembered = 100'000;
  auto both = model::start_of_sha256(verifier + '\0' + password, digest_digits);
  {
    std::lock_guard lock{guard_};
    if (matching_.contains(both))
      return true;
  }
  if (!is_verifier_of(verifier, password))
    return false;
  std::lock_guard lock{guard_};
  if (matching_.size() >= most_remembered)
    matching_.clear();
  matching_.insert(std::move(both));
  return true;
}

} // namespace matriarch::engines::postgresql
