#pragma once

#include <optional>
#include <string>

#include "router/haproxy_config.hpp"
#include "router/router_config.hpp"

namespace matriarch::router {

/// Keeps the certificates current that HAProxy reads beside its file. What is no good is not taken
/// up: the old ones serve on, and the log says why.
class pem_files {
public:
  explicit pem_files(const router_config& settings) : settings_(settings) {}

  /// As HAProxy shall have them.
  [[nodiscard]] const pem_texts& texts() const { return texts_; }

  /// Who signed the fleet's certificates when an earlier router was told: also without etcd no other
  /// one is taken.
  void remember_authority();
  /// What etcd tells of that.
  void take_up_authority(const std::string& told);
  /// Takes up the certificate of the brokers' port if its files have changed; true if so.
  bool take_up_certificate();

private:
  const router_config& settings_;
  pem_texts texts_;
  std::optional<std::string> certificate_error_; ///< why the files' content was not taken up
};

} // namespace matriarch::router
