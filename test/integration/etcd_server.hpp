#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "certificates.hpp"
#include "claims.hpp"

namespace matriarch::test {

/// A real etcd on free loopback ports with its data in a temporary directory. It is ready when the
/// constructor returns, and its destructor removes it and its files. It also ends with the thread
/// that started it, so that a test that crashes leaves nothing behind. Failures are
/// std::runtime_error and end with the last lines of etcd's log.
class etcd_server {
public:
  struct options {
    /// https with a certificate of `tls()`; `asks_for_certificates`: clients need one too.
    bool tls = false;
    bool asks_for_certificates = false;
    /// If not empty, authentication is on, with this password of the user `root`.
    std::string root_password = {};
    /// Further words of etcd's command line.
    std::vector<std::string> words = {};
  };

  /// A cluster of one.
  etcd_server();
  explicit etcd_server(options how);
  ~etcd_server();
  etcd_server(const etcd_server&) = delete;
  etcd_server& operator=(const etcd_server&) = delete;

  /// Several members of one cluster, all ready.
  [[nodiscard]] static std::vector<std::unique_ptr<etcd_server>> cluster(std::size_t members);

  /// For clients: `http://127.0.0.1:port`, or https with TLS.
  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

  /// Only with TLS.
  [[nodiscard]] const certificates& tls() const { return *certificates_; }

  /// Makes the user root and turns authentication on.
  void turn_authentication_on(const std::string& root_password) const;
  /// Runs etcdctl with these words, as root if there is a password.
  void control(const std::vector<std::string>& words, const std::string& root_password = {}) const;

  /// Ends it cleanly, or at once (`kill`). The data stays.
  void stop();
  void kill();
  /// Starts it again after `stop` or `kill`, on the same ports with the same data, and waits until
  /// it is ready.
  void start();
  /// Deletes the data; only while it is stopped. It then starts as a new, empty cluster.
  void wipe();

  /// Freezes it: its kernel still accepts connections, but nothing answers.
  void pause();
  void resume();

private:
  struct unstarted {};
  explicit etcd_server(unstarted);
  void choose_ports();
  void launch();
  void await_ready();
  void end(int signal);
  [[nodiscard]] bool healthy() const;
  [[nodiscard]] bool running();
  [[nodiscard]] std::string log_tail() const;

  options how_;
  std::filesystem::path directory_;
  std::unique_ptr<certificates> certificates_;
  std::string name_ = "one";
  std::string url_;
  std::string peer_url_;
  std::string initial_cluster_;
  std::string health_url_; ///< without TLS in any case
  int port_ = 0;
  int health_port_ = 0;
  pid_t pid_ = 0;
};

} // namespace matriarch::test
