#include "http/access.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "http/base64.hpp"

namespace matriarch::http {

namespace {

// What a digest is of, so that a token never passes for a user and a password.
constexpr std::string_view of_user = "basic ";
constexpr std::string_view of_token = "bearer ";

secret_digest digest_of(std::string_view kind, std::string_view secret) {
  auto text = std::string{kind} + std::string{secret};
  secret_digest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  OPENSSL_cleanse(text.data(), text.size());
  return digest;
}

/// What follows a scheme, whose name may be in any case (RFC 9110, section 11.1).
std::optional<std::string_view> after_scheme(std::string_view sent, std::string_view scheme) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  if (!std::ranges::equal(sent.substr(0, scheme.size()), scheme, {}, lower))
    return std::nullopt;
  auto rest = sent.substr(scheme.size());
  return rest.substr(std::min(rest.find_first_not_of(' '), rest.size()));
}

} // namespace

authorization read_authorization(const request& got) {
  const auto* sent = got.header("authorization");
  if (sent == nullptr)
    return {};
  if (auto token = after_scheme(*sent, of_token); token && !token->empty())
    return {{}, digest_of(of_token, *token)};
  auto encoded = after_scheme(*sent, of_user);
  auto pair = encoded ? from_base64(*encoded) : std::nullopt;
  if (!pair || pair->find(':') == std::string::npos)
    return {};
  return {pair->substr(0, pair->find(':')), digest_of(of_user, *pair)};
}

gate::gate(const credential_set& known) {
  for (const auto& user : known.users)
    known_.emplace_back(digest_of(of_user, user.username + ":" + user.password), user.username);
  for (const auto& token : known.tokens)
    known_.emplace_back(digest_of(of_token, token),
                        "token " + std::to_string(known_.size() - known.users.size() + 1));
}

std::optional<std::string> gate::admit(const authorization& who) const {
  std::optional<std::string> name;
  if (!who.secret)
    return name;
  for (const auto& [digest, whose] : known_)
    if (CRYPTO_memcmp(digest.data(), who.secret->data(), digest.size()) == 0)
      name = whose;
  return name;
}

} // namespace matriarch::http
