#pragma once

#include <optional>
#include <string>

#include "router/haproxy_config.hpp"
#include "router/router_config.hpp"

namespace matriarch::router {

/// Keeps current the certificates that HAProxy reads beside its file. Invalid ones are not used:
/// the old ones stay in use, and the log says why.
class pem_files {
public:
  explicit pem_files(const router_config& settings) : settings_(settings) {}

  /// The texts that HAProxy should have.
  [[nodiscard]] const pem_texts& texts() const { return texts_; }

  /// Reads the authority of the fleet that an earlier router stored, so that no other one is
  /// accepted even without etcd.
  void remember_authority();
  /// Takes up the authority as etcd has it.
  void take_up_authority(const std::string& told);
  /// Takes up the certificate of the brokers' port if its files have changed; true if so.
  bool take_up_certificate();

private:
  const router_config& settings_;
  pem_texts texts_;
  std::optional<std::string> certificate_error_; ///< why the files' content was not taken up
};

} // namespace matriarch::router
