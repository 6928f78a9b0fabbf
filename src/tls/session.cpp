#include "tls/session.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <array>

namespace matriarch::tls {

namespace {

/// What one record of TLS can hold, so that one read empties it.
constexpr std::size_t record_bytes = 16 * 1024;

int no_passphrase(char*, int, int, void*) {
  return 0;
}

std::unique_ptr<BIO, decltype(&BIO_free_all)> reader_of(std::string_view text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free_all};
}

} // namespace

struct server_identity::context {
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> made{SSL_CTX_new(TLS_server_method()),
                                                         SSL_CTX_free};

  /// False if OpenSSL does not take it.
  [[nodiscard]] bool use(const key_pair& what) const {
    auto* ssl = made.get();
    if (ssl == nullptr || SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1)
      return false;
    // No client may have the server work again and again on one connection, or keep buffers that
    // it does not use; and nothing is remembered of clients.
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET
                                 | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    auto all = certificates_in(what.certificate);
    if (all.empty())
      return false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto in = reader_of(all[i]);
      std::unique_ptr<X509, decltype(&X509_free)> one{
          PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr), X509_free};
      bool taken = one
                   && (i == 0 ? SSL_CTX_use_certificate(ssl, one.get())
                              : SSL_CTX_add1_chain_cert(ssl, one.get()))
                          == 1;
      if (!taken)
        return false;
    }
    auto in = reader_of(what.key);
    std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key{
        PEM_read_bio_PrivateKey(in.get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free};
    return key && SSL_CTX_use_PrivateKey(ssl, key.get()) == 1
           && SSL_CTX_check_private_key(ssl) == 1;
  }
};

server_identity::server_identity() = default;
server_identity::~server_identity() = default;

std::optional<std::string> server_identity::show(const key_pair& what) {
  auto next = std::make_shared<context>();
  bool taken = next->use(what);
  ERR_clear_error();
  if (!taken)
    return "OpenSSL does not take the certificate with its key";
  now_ = std::move(next);
  return std::nullopt;
}

struct server_session::connection {
  std::shared_ptr<server_identity::context> as;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl{nullptr, SSL_free};
  BIO* incoming = nullptr; ///< both belong to `ssl`
  BIO* outgoing = nullptr;
};

server_session::server_session(const server_identity& as) : self_(std::make_unique<connection>()) {
  self_->as = as.now_.load();
  self_->ssl.reset(SSL_new(self_->as->made.get()));
  self_->incoming = BIO_new(BIO_s_mem());
  self_->outgoing = BIO_new(BIO_s_mem());
  if (!self_->ssl || self_->incoming == nullptr || self_->outgoing == nullptr)
    throw std::bad_alloc{};
  SSL_set_bio(self_->ssl.get(), self_->incoming, self_->outgoing);
  SSL_set_accept_state(self_->ssl.get());
}

server_session::~server_session() = default;

bool server_session::receive(std::string_view bytes, std::string& said) {
  ERR_clear_error();
  auto* ssl = self_->ssl.get();
  if (BIO_write(self_->incoming, bytes.data(), static_cast<int>(bytes.size()))
      != static_cast<int>(bytes.size()))
    return false;
  std::array<char, record_bytes> part;
  while (true) {
    auto got = SSL_read(ssl, part.data(), static_cast<int>(part.size()));
    if (got > 0) {
      said.append(part.data(), static_cast<std::size_t>(got));
      continue;
    }
    auto why = SSL_get_error(ssl, got);
    ERR_clear_error();
    if (why == SSL_ERROR_ZERO_RETURN)
      ended_ = true;
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_ZERO_RETURN;
  }
}

bool server_session::is_ready() const {
  return SSL_is_init_finished(self_->ssl.get()) == 1;
}

bool server_session::is_halfway() const {
  return BIO_ctrl_pending(self_->incoming) > 0 || SSL_has_pending(self_->ssl.get()) == 1;
}

bool server_session::say(std::string_view text) {
  ERR_clear_error();
  if (!is_ready())
    return false;
  // A memory BIO takes all of it.
  bool done = text.empty()
              || SSL_write(self_->ssl.get(), text.data(), static_cast<int>(text.size()))
                     == static_cast<int>(text.size());
  ERR_clear_error();
  return done;
}

void server_session::end() {
  if (is_ready())
    (void)SSL_shutdown(self_->ssl.get());
  ERR_clear_error();
}

std::string server_session::to_send() {
  std::string bytes;
  std::array<char, record_bytes> part;
  while (true) {
    auto got = BIO_read(self_->outgoing, part.data(), static_cast<int>(part.size()));
    if (got <= 0)
      return bytes;
    bytes.append(part.data(), static_cast<std::size_t>(got));
  }
}

} // namespace matriarch::tls
