#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <system_error>

namespace matriarch::test {

/// A directory that the destructor removes with its content.
class temporary_directory {
public:
  temporary_directory() {
    std::string name = "/tmp/matriarch-unit-XXXXXX";
    if (!::mkdtemp(name.data()))
      throw std::runtime_error{"no temporary directory"};
    path_ = name;
  }
  ~temporary_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

  /// Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& text) const {
    auto path = path_ + "/" + name;
    std::ofstream{path} << text;
    return path;
  }

private:
  std::string path_;
};

} // namespace matriarch::test
