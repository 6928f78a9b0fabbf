#include "engines/postgresql/cell/control_file.hpp"

#include <cstring>

#include <fmt/format.h>

namespace matriarch::engines::postgresql {

namespace {

// PostgreSQL's ControlFileData, catalog/pg_control.h: the first members are the same from 11 on.
constexpr std::size_t version_at = 8;
constexpr std::size_t state_at = 16;
constexpr std::size_t checkpoint_at = 32;
constexpr std::size_t timeline_at = 48; ///< of that checkpoint
constexpr std::size_t needed = timeline_at + sizeof(std::uint32_t);
constexpr std::uint32_t first_version = 1100;
constexpr std::uint32_t shut_down = 1;             ///< DB_SHUTDOWNED
constexpr std::uint32_t shut_down_in_recovery = 2; ///< DB_SHUTDOWNED_IN_RECOVERY

template <class Number>
Number number_at(std::string_view content, std::size_t at) {
  Number read{};
  std::memcpy(&read, content.data() + at, sizeof read);
  return read;
}

} // namespace

result<model::data_at_stop> data_in_control_file(std::string_view content) {
  if (content.size() < needed)
    return failure{
        fmt::format("pg_control has {} bytes, too few for its first members", content.size())};
  if (auto version = number_at<std::uint32_t>(content, version_at); version < first_version)
    return failure{fmt::format("pg_control has version {}; the earliest that can be read is {}",
                               version, first_version)};
  auto state = number_at<std::uint32_t>(content, state_at);
  if (state != shut_down && state != shut_down_in_recovery)
    return model::data_at_stop{};
  auto position = number_at<std::uint64_t>(content, checkpoint_at);
  if (position == 0 || position > static_cast<std::uint64_t>(INT64_MAX))
    return failure{"pg_control names no checkpoint"};
  return model::data_at_stop{static_cast<std::int64_t>(position),
                             number_at<std::uint32_t>(content, timeline_at), state == shut_down};
}

} // namespace matriarch::engines::postgresql
