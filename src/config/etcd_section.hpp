#pragma once

#include <string>
#include <vector>

#include "config/yaml_reader.hpp"

namespace matriarch::config {

/// `etcd:`, the same in the configurations of broker, cell and router.
struct etcd_settings {
  /// `http://host:port` or `https://host:port` each, without a slash at its end; at least one, and
  /// all of one scheme.
  std::vector<std::string> machines;
  /// Who this program is to etcd; both empty if etcd asks for no user.
  std::string username;
  std::string password;
  /// PEM files, of https only. Empty: the system's authorities, and no client certificate.
  std::string tls_authority;
  std::string tls_certificate; ///< this program's own, for etcd that asks for one
  std::string tls_key;         ///< there if and only if the certificate is
};

/// Reads the mapping at `etcd:`: machines, username, password or password_file, tls: {authority,
/// certificate, key}. Throws config_error.
[[nodiscard]] etcd_settings read_etcd(const section& from);

} // namespace matriarch::config
