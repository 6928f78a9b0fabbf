#include "cli/machine.hpp"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "base/processes.hpp"
#include "model/names.hpp"

namespace matriarch::cli {

namespace {

// Enough digits to distinguish all machines; short enough to compare by eye.
constexpr std::size_t digits_kept = 16;

/// Empty if there is no such file, or it may not be read.
std::string first_line_of(const char* path) {
  std::ifstream file{path};
  std::string line;
  std::getline(file, line);
  return line;
}

std::string network_namespace_of_this() {
  struct stat found {};
  if (::stat("/proc/self/ns/net", &found) != 0)
    return "";
  return std::to_string(found.st_ino);
}

} // namespace

std::string host_name() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0)
    return "";
  return name.data();
}

std::string identity_of(const machine_marks& marks) {
  if (marks.boot_id.empty() || marks.network_namespace.empty())
    return "";
  // A digest, for anyone who can read a machine's id could pass it off as its own.
  return model::start_of_sha256(marks.machine_id + "\n" + marks.host_name + "\n" + marks.boot_id
                                    + "\n" + marks.network_namespace,
                                digits_kept);
}

std::string machine_identity() {
  return identity_of({first_line_of("/etc/machine-id"), host_name(), base::boot_id(),
                      network_namespace_of_this()});
}

} // namespace matriarch::cli
