#include "router/certificate.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "tls/certificate.hpp"

namespace matriarch::router {

namespace {

result<std::string> text_of(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  if (!in)
    return failure{fmt::format("{} cannot be read: {}", path, std::strerror(errno))};
  std::ostringstream text;
  if (!(text << in.rdbuf()))
    return failure{fmt::format("{} cannot be read", path)};
  return text.str();
}

std::unique_ptr<BIO, decltype(&BIO_free)> reader_of(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free};
}

/// No passphrase: nobody is there to type one.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

} // namespace

result<std::string> read_certificate(const std::string& certificate, const std::string& key) {
  auto text = text_of(certificate);
  if (!text)
    return text;
  if (!key.empty()) {
    auto with = text_of(key);
    if (!with)
      return with;
    // A file need not end with a line's end, and a PEM block has to begin on a line of its own.
    *text += "\n" + *with;
  }
  auto certificates = reader_of(*text);
  std::unique_ptr<X509, decltype(&X509_free)> own{
      PEM_read_bio_X509(certificates.get(), nullptr, nullptr, nullptr), X509_free};
  auto keys = reader_of(*text);
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> secret{
      PEM_read_bio_PrivateKey(keys.get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free};
  auto belong = own && secret && X509_check_private_key(own.get(), secret.get()) == 1;
  ERR_clear_error();
  if (!own)
    return failure{fmt::format("{} holds no certificate in PEM", certificate)};
  if (!secret)
    return failure{fmt::format("{} holds no key in PEM that can be read without a passphrase",
                               key.empty() ? certificate : key)};
  if (!belong)
    return failure{fmt::format("the key in {} is not that of the first certificate in {}",
                               key.empty() ? certificate : key, certificate)};
  return text;
}

std::string certificates_in(const std::string& text) {
  std::string all;
  for (const auto& one : tls::certificates_in(text))
    all += one;
  return all;
}

} // namespace matriarch::router
