#pragma once

#include <cstdint>
#include <string>

namespace matriarch::cell {

/// What this machine has for nodes; 0 where it cannot be known.
struct machine_room {
  std::int64_t memory = 0; ///< bytes, the machine's total
  std::int64_t disk = 0;   ///< bytes, of a directory's file system
};

[[nodiscard]] machine_room room_of(const std::string& directory);

} // namespace matriarch::cell
