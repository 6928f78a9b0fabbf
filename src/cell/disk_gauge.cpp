#include "cell/disk_gauge.hpp"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <utility>

#include "base/enum_words.hpp"
#include "model/node_limits.hpp"

namespace matriarch::cell {

namespace {

constexpr base::enum_words<disk_state, 3> disk_words{{{{disk_state::roomy, "roomy"},
                                                       {disk_state::nearly_full, "nearly full"},
                                                       {disk_state::full, "full"}}}};

/// A disk can fill by some hundred MB between two measurements, and a checkpoint still needs room
/// after that.
constexpr std::int64_t least_margin = 64 * model::megabyte;
constexpr std::int64_t margin_part = 20;

/// Whether less is left than these margins.
bool lacks(const disk_use& now, std::int64_t limit, std::int64_t margin, std::int64_t reserve) {
  bool of_plan = limit > 0 && now.used + margin >= limit;
  bool of_system = reserve > 0 && now.size > 0 && now.free <= reserve;
  return of_plan || of_system;
}

// nftw() passes no caller's data to its callback.
thread_local std::int64_t bytes_so_far = 0;

int add_up(const char* /*path*/, const struct stat* entry, int type, struct FTW* /*where*/) {
  constexpr std::int64_t block = 512; // whatever the file system's own block size is
  if (type != FTW_NS)
    bytes_so_far += static_cast<std::int64_t>(entry->st_blocks) * block;
  return 0;
}

} // namespace

std::string_view word_for(disk_state is) {
  return disk_words.word_for(is);
}

disk_state judge_disk(const disk_use& now, const disk_bounds& bounds, disk_state before) {
  auto margin = std::max(least_margin, bounds.limit / margin_part);
  // A small file system that is as good as empty has room.
  auto reserve = std::min(bounds.least_free, std::max(least_margin, now.size / margin_part));
  if (lacks(now, bounds.limit, 0, reserve / 2))
    return disk_state::full;
  bool again = before != disk_state::roomy;
  if (lacks(now, bounds.limit, margin + (again ? margin / 4 : 0),
            reserve + (again ? reserve / 4 : 0)))
    return disk_state::nearly_full;
  return disk_state::roomy;
}

disk_use measure_disk(const std::string& directory, bool all) {
  constexpr int most_open = 16;
  disk_use now;
  bytes_so_far = 0;
  if (all)
    ::nftw(directory.c_str(), add_up, most_open, FTW_PHYS | FTW_MOUNT);
  now.used = bytes_so_far;
  struct statvfs on {};
  if (::statvfs(directory.c_str(), &on) == 0) {
    auto block = static_cast<std::int64_t>(on.f_frsize);
    now.free = static_cast<std::int64_t>(on.f_bavail) * block;
    now.size = static_cast<std::int64_t>(on.f_blocks) * block;
  }
  return now;
}

void disk_gauge::measure(std::string directory, bool all, std::function<void(disk_use)> then) {
  thread_.submit([this, all, directory = std::move(directory), then = std::move(then)] {
    auto now = measure_disk(directory, all);
    loop_.post([then, now] { then(now); });
  });
}

} // namespace matriarch::cell
