#include <doctest/doctest.h>

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <memory>

#include "cell/certificate.hpp"

namespace matriarch::cell {

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

} // namespace

TEST_CASE("a node's certificate goes with its key, names its address and is valid for years") {
  auto made = make_key_pair(std::string(64, 'n'), "127.77.1.9");
  REQUIRE_MESSAGE(made.ok(), (made.ok() ? "" : made.error()));
  auto certificate = certificate_in(made->certificate);
  auto key = key_in(made->key);
  REQUIRE(certificate);
  REQUIRE(key);
  CHECK(X509_check_private_key(certificate.get(), key.get()) == 1);
  CHECK(EVP_PKEY_get_id(key.get()) == EVP_PKEY_EC);
  CHECK(EVP_PKEY_get_bits(key.get()) == 256);
  CHECK(X509_verify(certificate.get(), key.get()) == 1);
  CHECK(X509_check_ip_asc(certificate.get(), "127.77.1.9", 0) == 1);
  auto now = std::time(nullptr);
  auto in_nine_years = now + 9L * 365 * 24 * 60 * 60;
  CHECK(X509_cmp_time(X509_get0_notBefore(certificate.get()), &now) < 0);
  CHECK(X509_cmp_time(X509_get0_notAfter(certificate.get()), &in_nine_years) > 0);
}

TEST_CASE("a node on a named host has that name in its certificate") {
  auto made = make_key_pair("n1", "db.example.org");
  REQUIRE(made.ok());
  auto certificate = certificate_in(made->certificate);
  REQUIRE(certificate);
  CHECK(X509_check_host(certificate.get(), "db.example.org", 0, 0, nullptr) == 1);
}

TEST_CASE("no two nodes have the same key or the same serial number") {
  auto one = make_key_pair("n1", "127.77.1.9");
  auto other = make_key_pair("n1", "127.77.1.9");
  REQUIRE((one.ok() && other.ok()));
  CHECK(one->key != other->key);
  CHECK(ASN1_INTEGER_cmp(X509_get0_serialNumber(certificate_in(one->certificate).get()),
                         X509_get0_serialNumber(certificate_in(other->certificate).get()))
        != 0);
}

} // namespace matriarch::cell
