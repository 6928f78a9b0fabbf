#pragma once

#include "model/event.hpp"

namespace matriarch::cli {

/// Writes an event to the log.
void log_event(const model::event& one);

} // namespace matriarch::cli
