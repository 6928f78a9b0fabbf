#pragma once

#include <cstdint>
#include <string>

namespace matriarch::cell {

/// What there is on this machine for nodes; 0 where it cannot be known.
struct machine_room {
  std::int64_t memory = 0; ///< bytes, of all of it
  std::int64_t disk = 0;   ///< bytes, of the file system of a directory
};

[[nodiscard]] machine_room room_of(const std::string& directory);

} // namespace matriarch::cell
