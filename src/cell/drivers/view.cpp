#include "cell/drivers/view.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "base/files.hpp"

namespace matriarch::cell {

namespace {

namespace fs = std::filesystem;

struct part {
  std::string_view directory;
  std::vector<std::string_view> kept;
};

const std::array<part, 4> parts{{
    {"/",
     // The system's programs and the kernel's file systems.
     {"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "run", "dev", "proc", "sys"}},
    {"/etc",
     // The links to chosen alternatives, the library paths, OpenSSL's trusted certificates.
     {"alternatives", "ld.so.conf.d", "ssl", "ca-certificates", "pki"}},
    {"/etc/ssl",
     // Not `private`: on Debian some users that nodes run as may read the machine's keys.
     {"certs"}},
    {"/run",
     // For name resolution.
     {"systemd", "resolvconf", "nscd", "NetworkManager", "sssd"}},
}};

bool lies_in(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

} // namespace

std::string real_path(const std::string& path) {
  std::error_code error;
  auto real = fs::weakly_canonical(path, error);
  return error ? path : real.string();
}

machine_view view_of_node(const std::string& own, const std::vector<std::string>& needed) {
  machine_view view;
  auto is_needed = [&](const std::string& directory) {
    return std::ranges::any_of(needed, [&](const auto& one) {
      return lies_in(one, directory) || lies_in(real_path(one), directory);
    });
  };
  for (const auto& [directory, kept] : parts) {
    for (const auto& name : base::names_in(std::string{directory})) {
      auto path = (directory == "/" ? "/" : std::string{directory} + "/") + name;
      std::error_code error;
      // On Debian each Python version has a directory of settings.
      if (std::ranges::find(kept, name) != kept.end()
          || (directory == "/etc" && name.starts_with("python"))
          || !fs::is_directory(fs::symlink_status(path, error)) || is_needed(path))
        continue;
      if (lies_in(own, path))
        view.around_own = path;
      else
        view.covered.push_back(path);
    }
  }
  if (view.around_own.empty())
    view.around_own = own;
  return view;
}

} // namespace matriarch::cell
