#pragma once

#include <chrono>
#include <string>

#include "base/directory_lock.hpp"
#include "base/result.hpp"

namespace matriarch::router {

/// The directory that a router has for itself: made if need be, held, and rid of the drafts that an
/// earlier release began to write there and did not end, which may have private keys in them. Waits so
/// long for a predecessor that is just ending.
[[nodiscard]] result<base::directory_lock> hold_data_dir(const std::string& data_dir,
                                                         std::chrono::milliseconds patience);

} // namespace matriarch::router
