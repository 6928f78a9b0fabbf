#include "tls/certificate.hpp"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstdint>
#include <ctime>
#include <memory>

#include <fmt/format.h>

namespace matriarch::tls {

namespace {

template <auto Free>
struct freed_by {
  template <class Object>
  void operator()(Object* object) const {
    Free(object);
  }
};
using key_handle = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using certificate_handle = std::unique_ptr<X509, freed_by<X509_free>>;
using request_handle = std::unique_ptr<X509_REQ, freed_by<X509_REQ_free>>;
using extension_handle = std::unique_ptr<X509_EXTENSION, freed_by<X509_EXTENSION_free>>;
using names_handle = std::unique_ptr<GENERAL_NAMES, freed_by<GENERAL_NAMES_free>>;
using text_handle = std::unique_ptr<BIO, freed_by<BIO_free_all>>;

failure refused(std::string_view step) {
  char reason[256];
  ERR_error_string_n(ERR_get_error(), reason, sizeof reason);
  ERR_clear_error();
  return failure{fmt::format("OpenSSL cannot {}: {}", step, reason)};
}

text_handle reader_of(std::string_view text) {
  return text_handle{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
}

std::string text_of(BIO& written) {
  char* start = nullptr;
  auto length = BIO_get_mem_data(&written, &start);
  return {start, static_cast<std::size_t>(length)};
}

/// Nobody is there to type a passphrase.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

key_handle key_in(std::string_view text) {
  auto in = reader_of(text);
  key_handle key{PEM_read_bio_PrivateKey(in.get(), nullptr, no_passphrase, nullptr)};
  ERR_clear_error();
  return key;
}

certificate_handle certificate_in(std::string_view text) {
  auto in = reader_of(text);
  certificate_handle certificate{PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr)};
  ERR_clear_error();
  return certificate;
}

result<std::string> text_of(EVP_PKEY& key) {
  text_handle out{BIO_new(BIO_s_mem())};
  if (!out || PEM_write_bio_PrivateKey(out.get(), &key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return refused("write a key");
  return text_of(*out);
}

result<std::string> text_of(X509& certificate) {
  text_handle out{BIO_new(BIO_s_mem())};
  if (!out || PEM_write_bio_X509(out.get(), &certificate) != 1)
    return refused("write a certificate");
  return text_of(*out);
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

std::time_t seconds_of(model::wall_time when) {
  return std::chrono::floor<std::chrono::seconds>(when).time_since_epoch().count();
}

model::wall_time time_of(const ASN1_TIME& text) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(&text, &parts) != 1)
    return {};
  return model::wall_time{std::chrono::seconds{::timegm(&parts)}};
}

/// Number, times and the name, of a certificate whose key is set later.
bool begin(X509& certificate, const std::string& name, const validity& valid) {
  return X509_set_version(&certificate, X509_VERSION_3) == 1 && number(certificate)
         && ASN1_TIME_set(X509_getm_notBefore(&certificate), seconds_of(valid.from)) != nullptr
         && ASN1_TIME_set(X509_getm_notAfter(&certificate), seconds_of(valid.until)) != nullptr
         && X509_NAME_add_entry_by_txt(X509_get_subject_name(&certificate), "CN", MBSTRING_UTF8,
                                       reinterpret_cast<const unsigned char*>(name.data()),
                                       static_cast<int>(name.size()), -1, 0)
                == 1;
}

bool extend(X509& certificate, X509& issuer, int what, const char* how) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, &issuer, &certificate, nullptr, nullptr, 0);
  extension_handle extension{X509V3_EXT_conf_nid(nullptr, &context, what, how)};
  return extension && X509_add_ext(&certificate, extension.get(), -1) == 1;
}

/// Not by OpenSSL's configuration texts, in which a comma begins the next name.
bool add_hosts(X509& certificate, const std::set<std::string>& hosts) {
  names_handle names{sk_GENERAL_NAME_new_null()};
  if (!names)
    return false;
  for (const auto& host : hosts) {
    std::unique_ptr<GENERAL_NAME, freed_by<GENERAL_NAME_free>> name{a2i_GENERAL_NAME(
        nullptr, nullptr, nullptr, is_address(host) ? GEN_IPADD : GEN_DNS, host.c_str(), 0)};
    if (!name || sk_GENERAL_NAME_push(names.get(), name.get()) == 0)
      return false;
    (void)name.release();
  }
  return hosts.empty()
         || X509_add1_ext_i2d(&certificate, NID_subject_alt_name, names.get(), 0,
                              X509V3_ADD_DEFAULT)
                == 1;
}

bool describe_server(X509& certificate, X509& issuer, const subject& whom, const validity& valid) {
  return begin(certificate, whom.name, valid) && add_hosts(certificate, whom.hosts)
         && extend(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE")
         && extend(certificate, issuer, NID_key_usage, "critical,digitalSignature")
         && extend(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth");
}

template <class Describe>
result<key_pair> make_self_signed(Describe describe) {
  key_handle key{EVP_EC_gen("P-256")};
  if (!key)
    return refused("make a key");
  certificate_handle certificate{X509_new()};
  if (!certificate || X509_set_pubkey(certificate.get(), key.get()) != 1 || !describe(*certificate)
      || X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) != 1)
    return refused("describe a certificate");
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0)
    return refused("sign a certificate");
  auto key_text = text_of(*key);
  auto certificate_text = text_of(*certificate);
  if (!key_text)
    return failure{key_text.error()};
  if (!certificate_text)
    return failure{certificate_text.error()};
  return key_pair{*std::move(key_text), *std::move(certificate_text)};
}

bool is_root(X509& certificate) {
  return X509_NAME_cmp(X509_get_subject_name(&certificate), X509_get_issuer_name(&certificate))
         == 0;
}

std::string text_of(const GENERAL_NAME& name) {
  if (name.type == GEN_DNS)
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(name.d.dNSName)),
            static_cast<std::size_t>(ASN1_STRING_length(name.d.dNSName))};
  if (name.type != GEN_IPADD)
    return {};
  const auto* bytes = ASN1_STRING_get0_data(name.d.iPAddress);
  auto family = ASN1_STRING_length(name.d.iPAddress) == 4 ? AF_INET : AF_INET6;
  std::array<char, INET6_ADDRSTRLEN> text{};
  return ::inet_ntop(family, bytes, text.data(), text.size()) == nullptr ? "" : text.data();
}

} // namespace

result<std::string> make_key() {
  key_handle key{EVP_EC_gen("P-256")};
  if (!key)
    return refused("make a key");
  return text_of(*key);
}

result<key_pair> make_unchecked(const subject& whom, const validity& valid) {
  return make_self_signed(
      [&](X509& certificate) { return describe_server(certificate, certificate, whom, valid); });
}

result<key_pair> make_authority(const std::string& name, const validity& valid) {
  return make_self_signed([&](X509& certificate) {
    return begin(certificate, name, valid)
           && extend(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0")
           && extend(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign")
           && extend(certificate, certificate, NID_subject_key_identifier, "hash");
  });
}

result<std::string> make_request(const std::string& key_text) {
  auto key = key_in(key_text);
  request_handle request{X509_REQ_new()};
  text_handle out{BIO_new(BIO_s_mem())};
  if (!key || !request || !out || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1
      || X509_REQ_set_pubkey(request.get(), key.get()) != 1
      || X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0
      || PEM_write_bio_X509_REQ(out.get(), request.get()) != 1)
    return refused("make a request for a certificate");
  return text_of(*out);
}

result<std::string> sign(const std::string& request_text, const subject& whom,
                         const validity& valid, const key_pair& by) {
  auto in = reader_of(request_text);
  request_handle request{PEM_read_bio_X509_REQ(in.get(), nullptr, no_passphrase, nullptr)};
  if (!request)
    return refused("read a request for a certificate");
  auto* key = X509_REQ_get0_pubkey(request.get());
  if (key == nullptr || X509_REQ_verify(request.get(), key) != 1)
    return refused("check a request for a certificate");
  auto issuer_key = key_in(by.key);
  auto issuer = certificate_in(by.certificate);
  if (!issuer_key || !issuer)
    return refused("read the authority's key and certificate");
  certificate_handle made{X509_new()};
  if (!made || X509_set_pubkey(made.get(), key) != 1
      || !describe_server(*made, *issuer, whom, valid)
      || X509_set_issuer_name(made.get(), X509_get_subject_name(issuer.get())) != 1)
    return refused("describe a certificate");
  // An operator's authority need not have a key identifier.
  if (X509_get0_subject_key_id(issuer.get()) != nullptr
      && !extend(*made, *issuer, NID_authority_key_identifier, "keyid"))
    return refused("describe a certificate");
  // Keys of the kinds Ed25519 and Ed448 have a digest of their own.
  int own_digest = 0;
  const bool fixed = EVP_PKEY_get_default_digest_nid(issuer_key.get(), &own_digest) == 2
                     && own_digest == NID_undef;
  if (X509_sign(made.get(), issuer_key.get(), fixed ? nullptr : EVP_sha256()) == 0)
    return refused("sign a certificate");
  auto text = text_of(*made);
  if (!text)
    return text;
  for (const auto& one : certificates_in(by.certificate))
    if (auto between = certificate_in(one); between && !is_root(*between))
      *text += one;
  return text;
}

result<description> describe(std::string_view certificate) {
  auto read = certificate_in(certificate);
  if (!read)
    return failure{"there is no certificate in PEM"};
  description said;
  said.valid = {time_of(*X509_get0_notBefore(read.get())),
                time_of(*X509_get0_notAfter(read.get()))};
  said.may_sign = X509_check_ca(read.get()) == 1;
  names_handle names{static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(read.get(), NID_subject_alt_name, nullptr, nullptr))};
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i)
    if (auto host = text_of(*sk_GENERAL_NAME_value(names.get(), i)); !host.empty())
      said.hosts.insert(std::move(host));
  ERR_clear_error();
  return said;
}

bool is_signed_by(std::string_view certificate, std::string_view authority) {
  auto one = certificate_in(certificate);
  auto other = certificate_in(authority);
  bool so = one && other && X509_verify(one.get(), X509_get0_pubkey(other.get())) == 1;
  ERR_clear_error();
  return so;
}

bool answers(std::string_view certificate, std::string_view request) {
  auto one = certificate_in(certificate);
  auto in = reader_of(request);
  request_handle other{PEM_read_bio_X509_REQ(in.get(), nullptr, no_passphrase, nullptr)};
  bool so = one && other
            && EVP_PKEY_eq(X509_get0_pubkey(one.get()), X509_REQ_get0_pubkey(other.get())) == 1;
  ERR_clear_error();
  return so;
}

bool belong_together(const key_pair& both) {
  auto key = key_in(both.key);
  auto certificate = certificate_in(both.certificate);
  bool so = key && certificate && X509_check_private_key(certificate.get(), key.get()) == 1;
  ERR_clear_error();
  return so;
}

std::vector<std::string> certificates_in(std::string_view text) {
  std::vector<std::string> found;
  auto in = reader_of(text);
  while (true) {
    certificate_handle one{PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr)};
    if (!one)
      break;
    if (auto written = text_of(*one))
      found.push_back(*std::move(written));
  }
  ERR_clear_error();
  return found;
}

} // namespace matriarch::tls
