#pragma once

#include <string>
#include <vector>

#include "config/yaml_reader.hpp"

namespace matriarch::config {

/// The section `etcd:`, the same in the configurations of broker, cell and router.
struct etcd_settings {
  /// Each `http://host:port` or `https://host:port`, without a final slash; at least one, and all
  /// of the same scheme.
  std::vector<std::string> machines;
  /// This program's etcd user; both empty if etcd asks for no user.
  std::string username;
  std::string password;
  /// PEM files, for https only. Empty: the system's authorities, and no client certificate.
  std::string tls_authority;
  std::string tls_certificate; ///< this program's own, if etcd asks for one
  std::string tls_key;         ///< set if and only if the certificate is
};

/// Reads the mapping `etcd:`: machines, username, password or password_file, tls: {authority,
/// certificate, key}. Throws config_error.
[[nodiscard]] etcd_settings read_etcd(const section& from);

} // namespace matriarch::config
