#include "store/keyring.hpp"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>

#include "base/base64.hpp"

namespace matriarch::store {

namespace {

constexpr std::string_view mark = "sealed:";

/// The parameters that AES-GCM is designed for (NIST SP 800-38D, 8.2.2): a random nonce of 96 bits
/// and the full tag.
constexpr std::size_t nonce_bytes = 12;
constexpr std::size_t tag_bytes = 16;

/// 32 bits of the key's hash: enough to tell the few keys of a file apart.
constexpr std::size_t id_bytes = 4;

struct context_deleter {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using cipher_context = std::unique_ptr<EVP_CIPHER_CTX, context_deleter>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

/// The value of a hexadecimal digit, or -1.
int digit_of(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

std::string id_of(const std::array<unsigned char, 32>& key) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(key.data(), key.size(), digest.data());
  std::string id;
  for (std::size_t i = 0; i < id_bytes; ++i) {
    id += "0123456789abcdef"[digest[i] >> 4];
    id += "0123456789abcdef"[digest[i] & 15];
  }
  return id;
}

/// Nonce, ciphertext and tag in one string.
std::optional<std::string> encrypted(const std::array<unsigned char, 32>& key,
                                     std::string_view secret, std::string_view place) {
  std::string box(nonce_bytes + secret.size() + tag_bytes, '\0');
  unsigned char* nonce = bytes_of(box);
  unsigned char* text = nonce + nonce_bytes;
  unsigned char* tag = text + secret.size();
  cipher_context cipher{EVP_CIPHER_CTX_new()};
  int written = 0;
  bool done =
      cipher != nullptr && RAND_bytes(nonce, nonce_bytes) == 1
      && EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce) == 1
      && EVP_EncryptUpdate(cipher.get(), nullptr, &written, bytes_of(place),
                           static_cast<int>(place.size()))
             == 1
      && EVP_EncryptUpdate(cipher.get(), text, &written, bytes_of(secret),
                           static_cast<int>(secret.size()))
             == 1
      && EVP_EncryptFinal_ex(cipher.get(), tag, &written) == 1
      && EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, tag_bytes, tag) == 1;
  if (!done)
    return std::nullopt;
  return box;
}

std::optional<std::string> decrypted(const std::array<unsigned char, 32>& key, std::string box,
                                     std::string_view place) {
  if (box.size() < nonce_bytes + tag_bytes)
    return std::nullopt;
  std::string secret(box.size() - nonce_bytes - tag_bytes, '\0');
  unsigned char* nonce = bytes_of(box);
  unsigned char* text = nonce + nonce_bytes;
  unsigned char* tag = text + secret.size();
  cipher_context cipher{EVP_CIPHER_CTX_new()};
  int written = 0;
  bool done =
      cipher != nullptr
      && EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce) == 1
      && EVP_DecryptUpdate(cipher.get(), nullptr, &written, bytes_of(place),
                           static_cast<int>(place.size()))
             == 1
      && EVP_DecryptUpdate(cipher.get(), bytes_of(secret), &written, text,
                           static_cast<int>(secret.size()))
             == 1
      && EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, tag_bytes, tag) == 1
      && EVP_DecryptFinal_ex(cipher.get(), tag, &written) == 1;
  if (!done)
    return std::nullopt;
  return secret;
}

} // namespace

result<keyring> keyring::parse(std::string_view text) {
  keyring read;
  for (std::size_t number = 1; !text.empty(); ++number) {
    auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    constexpr std::string_view blank = " \t\r";
    line.remove_prefix(std::min(line.find_first_not_of(blank), line.size()));
    line = line.substr(0, line.find_last_not_of(blank) + 1);
    if (line.empty() || line.starts_with('#'))
      continue;
    const auto where = "line " + std::to_string(number) + " ";
    key one;
    if (line.size() != 2 * one.bytes.size())
      return failure{where + "has " + std::to_string(line.size())
                     + " characters; a key is 64 hexadecimal digits, as `openssl rand -hex 32` "
                       "makes them"};
    for (std::size_t i = 0; i < one.bytes.size(); ++i) {
      int high = digit_of(line[2 * i]);
      int low = digit_of(line[2 * i + 1]);
      if (high < 0 || low < 0)
        return failure{where + "is no key: character " + std::to_string(2 * i + (high < 0 ? 1 : 2))
                       + " is no hexadecimal digit"};
      one.bytes[i] = static_cast<unsigned char>(high << 4 | low);
    }
    one.id = id_of(one.bytes);
    auto same = [&](const key& other) { return other.id == one.id; };
    if (std::any_of(read.keys_.begin(), read.keys_.end(), same))
      return failure{where + "repeats a key; each key is listed once, the newest first"};
    read.keys_.push_back(std::move(one));
  }
  if (read.keys_.empty())
    return failure{"it holds no key; make one with `openssl rand -hex 32`"};
  return read;
}

std::string keyring::seal(std::string_view secret, std::string_view place) const {
  if (keys_.empty())
    return std::string{secret};
  auto box = encrypted(keys_.front().bytes, secret, place);
  // OpenSSL has no memory or no randomness. Go no further: the secret would be written in clear.
  if (!box)
    throw std::runtime_error{"OpenSSL cannot encrypt"};
  return std::string{mark} + keys_.front().id + ":" + base::to_base64(*box);
}

result<std::string> keyring::open(std::string_view sealed, std::string_view place) const {
  if (!sealed.starts_with(mark))
    return std::string{sealed};
  sealed.remove_prefix(mark.size());
  auto colon = sealed.find(':');
  const auto text = colon == sealed.npos ? std::string_view{} : sealed.substr(colon + 1);
  auto box = base::from_canonical_base64(text);
  if (!box || colon != 2 * id_bytes)
    return failure{
        "a sealed secret was altered: it is not in the form in which secrets are sealed"};
  const auto id = sealed.substr(0, colon);
  auto found = std::find_if(keys_.begin(), keys_.end(), [&](const key& k) { return k.id == id; });
  if (found == keys_.end()) {
    bool hexadecimal = std::all_of(id.begin(), id.end(), [](char c) { return digit_of(c) >= 0; });
    return failure{"a secret is sealed with the key "
                   + (hexadecimal ? std::string{id} : std::string{"of an altered name"})
                   + ", which secrets.key_file does not list; add that key below the newest"};
  }
  if (auto secret = decrypted(found->bytes, *std::move(box), place))
    return *std::move(secret);
  return failure{"a sealed secret does not open: it was altered, or moved here from elsewhere"};
}

bool keyring::is_sealed(std::string_view text) {
  return text.starts_with(mark);
}

bool keyring::seals_like(std::string_view sealed) const {
  if (keys_.empty())
    return !sealed.starts_with(mark);
  return sealed.starts_with(std::string{mark} + keys_.front().id + ":");
}

} // namespace matriarch::store
