#include "base/remover.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace matriarch::base {

void remover::remove(std::string directory, std::function<void(std::optional<std::string>)> done) {
  thread_.submit([directory = std::move(directory), done = std::move(done)] {
    std::error_code error;
    std::filesystem::remove_all(directory, error);
    done(error ? std::optional{fmt::format("cannot remove {}: {}", directory, error.message())}
               : std::nullopt);
  });
}

} // namespace matriarch::base
