#include "cell/certificate.hpp"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <memory>

#include <fmt/format.h>

namespace matriarch::cell {

namespace {

/// Seconds, ten years: no node lives longer, and an expired certificate would only be in the way.
constexpr long lifetime = 10L * 365 * 24 * 60 * 60;
/// Seconds before now: the clocks of clients differ.
constexpr long backdated = 24L * 60 * 60;

template <auto Free>
struct freed_by {
  template <class Object>
  void operator()(Object* object) const {
    Free(object);
  }
};
using key_handle = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using certificate_handle = std::unique_ptr<X509, freed_by<X509_free>>;
using extension_handle = std::unique_ptr<X509_EXTENSION, freed_by<X509_EXTENSION_free>>;
using text_handle = std::unique_ptr<BIO, freed_by<BIO_free_all>>;

failure refused(std::string_view step) {
  char reason[256];
  ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
  ERR_clear_error();
  return failure{fmt::format("OpenSSL cannot {}: {}", step, reason)};
}

bool is_address(const std::string& host) {
  in_addr four{};
  in6_addr six{};
  return ::inet_pton(AF_INET, host.c_str(), &four) == 1
         || ::inet_pton(AF_INET6, host.c_str(), &six) == 1;
}

bool number(X509& certificate) {
  std::uint64_t serial = 0;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) != 1)
    return false;
  serial >>= 1; // serial numbers are positive
  return ASN1_INTEGER_set_uint64(X509_get_serialNumber(&certificate), serial) == 1;
}

bool describe(X509& certificate, const std::string& name, const std::string& host) {
  if (X509_set_version(&certificate, X509_VERSION_3) != 1 || !number(certificate)
      || !X509_gmtime_adj(X509_getm_notBefore(&certificate), -backdated)
      || !X509_gmtime_adj(X509_getm_notAfter(&certificate), lifetime))
    return false;
  auto* subject = X509_get_subject_name(&certificate);
  if (X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(name.data()),
                                 static_cast<int>(name.size()), -1, 0)
          != 1
      || X509_set_issuer_name(&certificate, subject) != 1)
    return false;
  auto known_as = fmt::format("{}:{}", is_address(host) ? "IP" : "DNS", host);
  extension_handle extension{
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, known_as.c_str())};
  return extension && X509_add_ext(&certificate, extension.get(), -1) == 1;
}

std::string text_of(BIO& written) {
  char* start = nullptr;
  auto length = BIO_get_mem_data(&written, &start);
  return {start, static_cast<std::size_t>(length)};
}

} // namespace

result<key_pair> make_key_pair(const std::string& name, const std::string& host) {
  key_handle key{EVP_EC_gen("P-256")};
  if (!key)
    return refused("make a key");
  certificate_handle certificate{X509_new()};
  if (!certificate || !describe(*certificate, name, host)
      || X509_set_pubkey(certificate.get(), key.get()) != 1)
    return refused("describe a certificate");
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0)
    return refused("sign a certificate");
  text_handle key_text{BIO_new(BIO_s_mem())};
  text_handle certificate_text{BIO_new(BIO_s_mem())};
  if (!key_text || !certificate_text
      || PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr)
             != 1
      || PEM_write_bio_X509(certificate_text.get(), certificate.get()) != 1)
    return refused("write a certificate");
  return key_pair{text_of(*key_text), text_of(*certificate_text)};
}

} // namespace matriarch::cell
