#pragma once

#include <chrono>
#include <string>

#include "base/directory_lock.hpp"
#include "base/result.hpp"

namespace matriarch::router {

/// Makes the router's own directory if need be, locks it, and deletes the drafts that an earlier
/// release left there unfinished, for these may hold private keys. Waits up to `patience` for a
/// predecessor that is just ending.
[[nodiscard]] result<base::directory_lock> hold_data_dir(const std::string& data_dir,
                                                         std::chrono::milliseconds patience);

} // namespace matriarch::router
