#include "http/access.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "base/base64.hpp"

namespace matriarch::http {

namespace {

// A prefix for each kind of secret, so that a token never passes for a user and a password.
constexpr std::string_view of_user = "basic ";
constexpr std::string_view of_token = "bearer ";

/// Without a fetched algorithm and a context, OpenSSL would look up and make both at each call,
/// which takes longer than the digest.
secret_digest digest_of(std::string_view kind, std::string_view secret) {
  static EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{
      EVP_MD_CTX_new(), EVP_MD_CTX_free};
  secret_digest digest{};
  bool done = EVP_DigestInit_ex2(context.get(), sha256, nullptr) == 1
              && EVP_DigestUpdate(context.get(), kind.data(), kind.size()) == 1
              && EVP_DigestUpdate(context.get(), secret.data(), secret.size()) == 1
              && EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  if (!done) // without a digest, a later failure would match this one
    throw std::runtime_error{"OpenSSL could not make a SHA-256"};
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
  if (!encoded)
    return {};
  auto pair = base::from_base64(*encoded, base::padding::optional);
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
