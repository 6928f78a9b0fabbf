#include "cli/event_log.hpp"

#include <spdlog/spdlog.h>

namespace matriarch::cli {

void log_event(const model::event& one) {
  auto level = model::is_warning(one) ? spdlog::level::warn : spdlog::level::info;
  spdlog::log(level, "instance {}: {}", one.name, model::words_of(one));
}

} // namespace matriarch::cli
