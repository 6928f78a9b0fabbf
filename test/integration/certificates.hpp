#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace matriarch::test {

/// Runs a program, found on PATH, to its end. Failures are std::runtime_error and end with what the
/// program said.
void run(const std::vector<std::string>& words);

/// An authority of its own, with a certificate for a server at 127.0.0.1 and one for a client, as
/// PEM files in a directory that must exist. Made by the openssl program.
class certificates {
public:
  explicit certificates(std::filesystem::path directory);

  [[nodiscard]] std::string authority() const { return directory_ / "authority.pem"; }
  [[nodiscard]] std::string server() const { return directory_ / "server.pem"; }
  [[nodiscard]] std::string server_key() const { return directory_ / "server.key"; }
  [[nodiscard]] std::string client() const { return directory_ / "client.pem"; }
  [[nodiscard]] std::string client_key() const { return directory_ / "client.key"; }

private:
  void issue(const std::string& name, const std::string& extensions) const;

  std::filesystem::path directory_;
};

} // namespace matriarch::test
