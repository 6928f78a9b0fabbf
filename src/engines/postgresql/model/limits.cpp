#include "engines/postgresql/model/limits.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include <fmt/format.h>

namespace matriarch::engines::postgresql {

namespace {

using texts = std::map<std::string, std::string>;

/// PostgreSQL's defaults, or the cells', where there is room for them.
struct part {
  const char* name;
  std::int64_t of;    ///< divisor of the whole
  std::int64_t usual; ///< MB
};
/// Parts of the memory. One process may have half of it.
constexpr part parts_of_memory[] = {{"shared_buffers", 4, 128}, {"maintenance_work_mem", 8, 64}};
/// In MB: 1 TB. PostgreSQL keeps temp_file_limit as an int in kB, and 1 TB fits.
constexpr std::int64_t most_temporary = 1024 * 1024;
/// Parts of the disk. One session alone cannot fill it with temporary files.
constexpr part parts_of_disk[] = {{"temp_file_limit", 4, most_temporary},
                                  {"max_slot_wal_keep_size", 4, 4096},
                                  {"max_wal_size", 4, 1024},
                                  {"wal_keep_size", 8, 128}};

template <std::size_t Count>
void divide(std::int64_t whole, const part (&parts)[Count], texts& parameters) {
  if (whole > 0)
    for (const auto& one : parts)
      parameters.emplace(
          one.name, fmt::format("{}MB", std::min(whole / one.of / model::megabyte, one.usual)));
}

std::int64_t number_in(const texts& parameters, const char* name, std::int64_t otherwise) {
  const auto found = parameters.find(name);
  std::int64_t number = otherwise; // check_parameters() accepts integers only
  if (found != parameters.end())
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
  return number;
}

} // namespace

texts parameters_within(texts parameters, const model::node_limits& limits) {
  divide(limits.memory, parts_of_memory, parameters);
  divide(limits.disk, parts_of_disk, parameters);
  return parameters;
}

std::optional<model::parameter_fault> why_not_within(const texts& parameters,
                                                     const model::node_limits& limits) {
  // Each connection and each worker is a process, and PostgreSQL has some dozen of its own. With
  // fewer processes it would refuse connections that its settings allow.
  constexpr std::int64_t own = 24;
  const auto needed = number_in(parameters, "max_connections", 100)
                      + number_in(parameters, "max_wal_senders", 10)
                      + number_in(parameters, "max_worker_processes", 8) + own;
  if (limits.processes > 0 && limits.processes < needed)
    return model::parameter_fault{
        "processes", fmt::format("must be at least {}, for the plan's connections, their "
                                 "replication, its workers and PostgreSQL's own; found {}",
                                 needed, limits.processes)};
  const auto shared = parameters.find("shared_buffers");
  const auto buffers = shared == parameters.end() ? std::nullopt : model::bytes_of(shared->second);
  if (limits.memory > 0 && buffers && *buffers > limits.memory / 2)
    return model::parameter_fault{
        "memory", fmt::format("of {} must be twice the plan's shared_buffers, {}, at least: the "
                              "other half is for its sessions",
                              model::size_in_words(limits.memory), model::size_in_words(*buffers))};
  return std::nullopt;
}

} // namespace matriarch::engines::postgresql
