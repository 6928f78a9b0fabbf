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

/// A disk takes some hundred MB while it is looked at once, and a checkpoint has to find room after that.
constexpr std::int64_t least_margin = 64 * model::megabyte;
constexpr std::int64_t margin_part = 20;
/// The same of a whole file system, for nodes whose plan says nothing.
constexpr std::int64_t least_free = 256 * model::megabyte;

/// How much is missing of what should be left: below 0 as long as enough is.
std::int64_t missing(const disk_use& now, std::int64_t limit, std::int64_t margin,
                     std::int64_t reserve) {
  auto of_system = reserve - now.free;
  return limit > 0 ? std::max(of_system, now.used + margin - limit) : of_system;
}

// nftw() hands its callback nothing of the caller's.
thread_local std::int64_t bytes_so_far = 0;

int add_up(const char* /*path*/, const struct stat* entry, int type, struct FTW* /*where*/) {
  constexpr std::int64_t block = 512; // whatever the file system's own are
  if (type != FTW_NS)
    bytes_so_far += static_cast<std::int64_t>(entry->st_blocks) * block;
  return 0;
}

} // namespace

std::string_view word_for(disk_state is) {
  return disk_words.word_for(is);
}

disk_state judge_disk(const disk_use& now, std::int64_t limit, disk_state before) {
  auto margin = std::max(least_margin, limit / margin_part);
  if (missing(now, limit, 0, least_free / 2) >= 0)
    return disk_state::full;
  auto more = before == disk_state::roomy ? 0 : margin / 4;
  auto more_free = before == disk_state::roomy ? 0 : least_free / 4;
  if (missing(now, limit, margin + more, least_free + more_free) >= 0)
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
  if (::statvfs(directory.c_str(), &on) == 0)
    now.free = static_cast<std::int64_t>(on.f_bavail) * static_cast<std::int64_t>(on.f_frsize);
  return now;
}

void disk_gauge::measure(std::string directory, bool all, std::function<void(disk_use)> then) {
  thread_.submit([this, all, directory = std::move(directory), then = std::move(then)] {
    auto now = measure_disk(directory, all);
    loop_.post([then, now] { then(now); });
  });
}

} // namespace matriarch::cell
