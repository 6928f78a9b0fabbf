#include <doctest/doctest.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "tls/certificate.hpp"

namespace matriarch::tls {

namespace {

struct release {
  void operator()(BIO* text) const { BIO_free_all(text); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <class Object>
using handle = std::unique_ptr<Object, release>;

handle<X509> certificate_in(const std::string& text) {
  handle<BIO> in{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
  return handle<X509>{PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)};
}

handle<EVP_PKEY> key_in(const std::string& text) {
  handle<BIO> in{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
  return handle<EVP_PKEY>{PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr)};
}

constexpr model::wall_time start{std::chrono::sys_days{std::chrono::year{2026} / 11 / 26}};
const validity a_month{start, start + std::chrono::days{30}};

template <class Value>
Value must(result<Value> made) {
  REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error()));
  return *std::move(made);
}

key_pair an_authority(const std::string& name = "authority") {
  return must(make_authority(name, {start, start + std::chrono::days{365}}));
}

bool names_address(const std::string& certificate, const char* address) {
  return X509_check_ip_asc(certificate_in(certificate).get(), address, 0) == 1;
}

bool names_host(const std::string& certificate, const char* host) {
  return X509_check_host(certificate_in(certificate).get(), host, 0, 0, nullptr) == 1;
}

/// Whether a client that knows `root` takes the first certificate of `shown`, with the others to
/// help, at that moment.
bool is_taken(const std::string& shown, const std::string& root, model::wall_time when) {
  std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> known{X509_STORE_new(), X509_STORE_free};
  for (const auto& one : certificates_in(root))
    X509_STORE_add_cert(known.get(), certificate_in(one).get());
  std::unique_ptr<STACK_OF(X509), void (*)(STACK_OF(X509)*)> others{
      sk_X509_new_null(), [](STACK_OF(X509) * all) { sk_X509_pop_free(all, X509_free); }};
  for (const auto& one : certificates_in(shown))
    sk_X509_push(others.get(), certificate_in(one).release());
  std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> check{X509_STORE_CTX_new(),
                                                                        X509_STORE_CTX_free};
  auto first = certificate_in(shown);
  REQUIRE(X509_STORE_CTX_init(check.get(), known.get(), first.get(), others.get()) == 1);
  X509_STORE_CTX_set_purpose(check.get(), X509_PURPOSE_SSL_SERVER);
  X509_STORE_CTX_set_time(
      check.get(), 0, std::chrono::floor<std::chrono::seconds>(when).time_since_epoch().count());
  return X509_verify_cert(check.get()) == 1;
}

} // namespace

TEST_CASE("a self-signed certificate matches its key, and has the name and the address") {
  auto made =
      must(make_unchecked({std::string(64, 'n'), {"127.77.1.9", "db.example.org"}}, a_month));
  auto certificate = certificate_in(made.certificate);
  auto key = key_in(made.key);
  REQUIRE(certificate);
  REQUIRE(key);
  CHECK(X509_check_private_key(certificate.get(), key.get()) == 1);
  CHECK(EVP_PKEY_get_id(key.get()) == EVP_PKEY_EC);
  CHECK(EVP_PKEY_get_bits(key.get()) == 256);
  CHECK(X509_verify(certificate.get(), key.get()) == 1);
  CHECK(names_address(made.certificate, "127.77.1.9"));
  CHECK(names_host(made.certificate, "db.example.org"));
}

TEST_CASE("no two certificates have the same key or the same serial number") {
  auto one = must(make_unchecked({"n1", {"127.77.1.9"}}, a_month));
  auto other = must(make_unchecked({"n1", {"127.77.1.9"}}, a_month));
  CHECK(one.key != other.key);
  CHECK(ASN1_INTEGER_cmp(X509_get0_serialNumber(certificate_in(one.certificate).get()),
                         X509_get0_serialNumber(certificate_in(other.certificate).get()))
        != 0);
}

TEST_CASE("a client with the authority accepts its certificates while they are valid") {
  auto authority = an_authority();
  auto key = must(make_key());
  auto shown = must(
      sign(must(make_request(key)), {"n1", {"db.example.org", "127.77.1.9"}}, a_month, authority));
  CHECK(is_taken(shown, authority.certificate, start + std::chrono::days{1}));
  CHECK_FALSE(is_taken(shown, authority.certificate, start - std::chrono::days{1}));
  CHECK_FALSE(is_taken(shown, authority.certificate, start + std::chrono::days{31}));
  CHECK_FALSE(is_taken(shown, an_authority().certificate, start + std::chrono::days{1}));
  CHECK(belong_together({key, shown}));
  CHECK(is_signed_by(shown, authority.certificate));
  CHECK_FALSE(is_signed_by(shown, an_authority().certificate));
  CHECK(names_host(shown, "db.example.org"));
  CHECK(names_address(shown, "127.77.1.9"));
}

TEST_CASE("a certificate of the authority cannot sign others") {
  auto authority = an_authority();
  auto key = must(make_key());
  auto server = must(sign(must(make_request(key)), {"n1", {"a.example.org"}}, a_month, authority));
  auto below = must(sign(must(make_request(must(make_key()))), {"n2", {"b.example.org"}}, a_month,
                         {key, server}));
  CHECK_FALSE(is_taken(below + server, authority.certificate, start + std::chrono::days{1}));
  CHECK_FALSE(must(describe(server)).may_sign);
  CHECK(must(describe(authority.certificate)).may_sign);
}

TEST_CASE("a certificate's description has its names and its times, to the second") {
  auto made = must(make_unchecked(
      {"n1", {"127.77.1.9", "fd00::1", "db.example.org", "a,DNS:evil.example.org"}}, a_month));
  auto said = must(describe(made.certificate));
  CHECK(said.hosts
        == std::set<std::string>{"127.77.1.9", "fd00::1", "db.example.org",
                                 "a,DNS:evil.example.org"});
  CHECK(said.valid.from == a_month.from);
  CHECK(said.valid.until == a_month.until);
}

TEST_CASE("a request that was altered is not signed") {
  auto request = must(make_request(must(make_key())));
  auto other = must(make_request(must(make_key())));
  // One request's signature under another's key.
  auto half = request.size() / 2;
  CHECK_FALSE(
      sign(request.substr(0, half) + other.substr(half), {"n1", {}}, a_month, an_authority()).ok());
  CHECK_FALSE(sign("", {"n1", {}}, a_month, an_authority()).ok());
}

TEST_CASE("an invalid certificate has no description and matches no key") {
  auto made = must(make_unchecked({"n1", {}}, a_month));
  CHECK_FALSE(describe("").ok());
  CHECK_FALSE(describe(made.key).ok());
  CHECK_FALSE(belong_together({made.key, ""}));
  CHECK_FALSE(belong_together({"", made.certificate}));
  CHECK_FALSE(belong_together({must(make_key()), made.certificate}));
  CHECK_FALSE(is_signed_by("", made.certificate));
  CHECK(certificates_in(made.key + "\n" + made.certificate + "rest\n" + made.certificate).size()
        == 2);
}

} // namespace matriarch::tls
