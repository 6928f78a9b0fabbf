#include "certificates.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace matriarch::test {

namespace {

/// Arguments for a new key, which is made with the request or certificate: small, and quick to
/// make.
const std::vector<std::string> fresh_key{"-newkey", "ec", "-pkeyopt",
                                         "ec_paramgen_curve:prime256v1", "-nodes"};

/// Long enough for any test, too short to be of use afterwards.
const std::vector<std::string> lifetime{"-days", "2"};

std::vector<std::string> operator+(std::vector<std::string> words,
                                   const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

} // namespace

void run(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const auto& word : words)
    arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::array<int, 2> said{};
  if (::pipe2(said.data(), O_CLOEXEC) != 0)
    throw std::runtime_error{"no pipe"};
  const auto pid = ::fork();
  if (pid < 0)
    throw std::runtime_error{"cannot start a process"};
  if (pid == 0) {
    ::dup2(said[1], STDOUT_FILENO);
    ::dup2(said[1], STDERR_FILENO);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(said[1]);
  std::string output;
  std::array<char, 4096> part{};
  for (ssize_t got = 0; (got = ::read(said[0], part.data(), part.size())) > 0;)
    output.append(part.data(), static_cast<std::size_t>(got));
  ::close(said[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error{words.front() + " failed: " + output};
}

certificates::certificates(std::filesystem::path directory) : directory_(std::move(directory)) {
  run(std::vector<std::string>{"openssl", "req", "-x509", "-subj", "/CN=authority for a test",
                               "-keyout", directory_ / "authority.key", "-out", authority()}
      + fresh_key + lifetime);
  issue("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n");
  issue("client", "extendedKeyUsage=clientAuth\n");
}

void certificates::issue(const std::string& name, const std::string& extensions) const {
  const std::string request = directory_ / (name + ".csr");
  const std::string extension_file = directory_ / (name + ".extensions");
  std::ofstream{extension_file} << extensions;
  run(std::vector<std::string>{"openssl", "req", "-new", "-subj", "/CN=" + name, "-keyout",
                               directory_ / (name + ".key"), "-out", request}
      + fresh_key);
  run(std::vector<std::string>{"openssl", "x509", "-req", "-in", request, "-CA", authority(),
                               "-CAkey", directory_ / "authority.key", "-CAcreateserial",
                               "-extfile", extension_file, "-out", directory_ / (name + ".pem")}
      + lifetime);
}

} // namespace matriarch::test
