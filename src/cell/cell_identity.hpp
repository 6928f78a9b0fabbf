#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/event_loop.hpp"
#include "cell/cell_config.hpp"
#include "store/etcd.hpp"
#include "tls/session.hpp"

namespace matriarch::cell {

/// What the cell's own HTTP server shows by TLS, and whether it accepts plain HTTP. The cell makes
/// its key once and keeps it. It announces a request, which the active broker signs; the broker
/// puts the certificate into etcd. Until a certificate has come, the cell shows one that nobody can
/// verify, and no broker sends it anything by TLS. Belongs to the event loop's thread, except for
/// `shown`.
class cell_identity {
public:
  /// Reads what an earlier agent left in the data directory, or makes it. The failure says what
  /// cannot be read or written.
  static result<std::unique_ptr<cell_identity>> open(const cell_config& config);
  ~cell_identity() = default;
  cell_identity(const cell_identity&) = delete;
  cell_identity& operator=(const cell_identity&) = delete;

  /// For the server; it may outlive this.
  [[nodiscard]] std::shared_ptr<const tls::server_identity> shown() const { return shown_; }
  /// The request to be announced; empty where an operator's certificate is shown.
  [[nodiscard]] const std::string& request() const { return request_; }
  /// Begins to follow the brokers' answers in etcd.
  void start(store::etcd_client& etcd);

private:
  explicit cell_identity(const cell_config& config)
      : guid_(config.guid), file_(config.data_dir + "/cell.pem"), plain_http_(config.plain_http) {}

  [[nodiscard]] std::optional<std::string> load(const cell_config& config);
  [[nodiscard]] std::optional<std::string> make();
  void take(const std::string& word);
  void take_certificate(const std::string& certificate);

  std::string guid_;
  std::string file_;
  bool plain_http_; ///< accept plain HTTP, whatever brokers say
  tls::key_pair has_;
  std::string request_;
  std::shared_ptr<tls::server_identity> shown_ = std::make_shared<tls::server_identity>();
  std::unique_ptr<store::follower> answers_;
};

} // namespace matriarch::cell
