#include "router/data_dir.hpp"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "base/files.hpp"

namespace matriarch::router {

result<base::directory_lock> hold_data_dir(const std::string& data_dir,
                                           std::chrono::milliseconds patience) {
  std::error_code error;
  std::filesystem::create_directories(data_dir, error);
  if (error)
    return failure{fmt::format("{} cannot be made: {}", data_dir, error.message())};
  auto lock = base::directory_lock::take(
      data_dir, "another router works on the same data_dir, and each needs one of its own",
      patience);
  if (lock)
    for (const auto& name : base::names_in(data_dir))
      if (name.ends_with(".draft") || name.ends_with(".new")) // earlier releases', and ours
        std::filesystem::remove(data_dir + "/" + name, error);
  return lock;
}

} // namespace matriarch::router
