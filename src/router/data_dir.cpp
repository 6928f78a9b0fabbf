#include "router/data_dir.hpp"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

namespace matriarch::router {

result<base::directory_lock> hold_data_dir(const std::string& data_dir,
                                           std::chrono::milliseconds patience) {
  std::error_code error;
  std::filesystem::create_directories(data_dir, error);
  if (error)
    return failure{fmt::format("{} cannot be made: {}", data_dir, error.message())};
  return base::directory_lock::take(
      data_dir, "another router works on the same data_dir, and each needs one of its own",
      patience);
}

} // namespace matriarch::router
