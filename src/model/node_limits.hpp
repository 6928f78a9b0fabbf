#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace matriarch::model {

/// The share of its machine that one node may use; 0: no limit.
struct node_limits {
  std::int64_t memory = 0;    ///< bytes, of the database's processes together
  std::int64_t processes = 0; ///< of the database
  std::int64_t cpu = 0;       ///< hundredths of a processor
  std::int64_t disk = 0;      ///< bytes, of the node's data
  bool operator==(const node_limits&) const = default;
};

// Nothing starts with less than the least values, and no machine has more than the greatest.
inline constexpr std::int64_t megabyte = 1024 * 1024;
inline constexpr std::int64_t least_memory = 64 * megabyte;
inline constexpr std::int64_t least_disk = 512 * megabyte;
inline constexpr std::int64_t most_bytes = 1024 * 1024 * 1024 * megabyte;
inline constexpr std::int64_t least_processes = 64;
inline constexpr std::int64_t most_processes = 262'144;
inline constexpr std::int64_t least_cpu = 10;
inline constexpr std::int64_t most_cpu = 102'400;

/// `512MB`, `1GB`, `2TB` in bytes; nothing if the text is none of these forms.
[[nodiscard]] std::optional<std::int64_t> bytes_of(std::string_view text);
/// A size in the greatest unit that is exact, else rounded down to MB.
[[nodiscard]] std::string size_in_words(std::int64_t bytes);

/// `2`, `0.5` or `0.25` processors in hundredths; nothing if the text is none of these forms.
[[nodiscard]] std::optional<std::int64_t> hundredths_of(std::string_view text);
[[nodiscard]] std::string cpu_in_words(std::int64_t hundredths);

/// The start parameters for these limits, by name, each as text.
[[nodiscard]] std::vector<std::pair<std::string, std::string>>
parameters_of(const node_limits& limits);

} // namespace matriarch::model
