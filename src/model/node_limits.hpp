#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace matriarch::model {

/// What one node may take of its machine; 0: as much as there is.
struct node_limits {
  std::int64_t memory = 0;    ///< bytes, of its database's processes together
  std::int64_t processes = 0; ///< of its database
  std::int64_t cpu = 0;       ///< hundredths of a processor
  std::int64_t disk = 0;      ///< bytes, of its data
  bool operator==(const node_limits&) const = default;
};

// Less than these nothing starts with, and no machine has more.
inline constexpr std::int64_t megabyte = 1024 * 1024;
inline constexpr std::int64_t least_memory = 64 * megabyte;
inline constexpr std::int64_t least_disk = 512 * megabyte;
inline constexpr std::int64_t most_bytes = 1024 * 1024 * 1024 * megabyte;
inline constexpr std::int64_t least_processes = 64;
inline constexpr std::int64_t most_processes = 262'144;
inline constexpr std::int64_t least_cpu = 10;
inline constexpr std::int64_t most_cpu = 102'400;

/// `512MB`, `1GB`, `2TB` in bytes; nothing if it is none of that.
[[nodiscard]] std::optional<std::int64_t> bytes_of(std::string_view text);
/// The same in words, in the greatest unit that is exact, else rounded down to MB.
[[nodiscard]] std::string size_in_words(std::int64_t bytes);

/// `2`, `0.5` or `0.25` processors in hundredths; nothing if it is none of that.
[[nodiscard]] std::optional<std::int64_t> hundredths_of(std::string_view text);
[[nodiscard]] std::string cpu_in_words(std::int64_t hundredths);

/// What a cell is told of them beside its engine's parameters, by name, each a text.
[[nodiscard]] std::vector<std::pair<std::string, std::string>>
parameters_of(const node_limits& limits);

} // namespace matriarch::model
