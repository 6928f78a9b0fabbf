#pragma once

#include "model/event.hpp"

namespace matriarch::cli {

/// Writes what happened into the log.
void log_event(const model::event& one);

} // namespace matriarch::cli
