#include "cell/machine_room.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

namespace matriarch::cell {

machine_room room_of(const std::string& directory) {
  machine_room has;
  auto pages = ::sysconf(_SC_PHYS_PAGES);
  auto page = ::sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0)
    has.memory = static_cast<std::int64_t>(pages) * page;
  struct statvfs on {};
  if (::statvfs(directory.c_str(), &on) == 0)
    has.disk = static_cast<std::int64_t>(on.f_blocks) * static_cast<std::int64_t>(on.f_frsize);
  return has;
}

} // namespace matriarch::cell
