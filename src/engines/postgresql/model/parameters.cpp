#include "engines/postgresql/model/parameters.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <regex>
#include <string_view>
#include <system_error>
#include <utility>

namespace matriarch::engines::postgresql {

namespace {

/// PostgreSQL ignores the case of ASCII letters in parameters' names.
std::string lower_case(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

/// Parameters that a plan cannot set; `*` at the end stands for any rest.
struct reserved_parameter {
  std::string_view name;
  std::string_view why;
};

/// What is wrong, or nothing.
using words = std::string;

constexpr std::string_view of_cell = "each cell sets it for its own nodes";
constexpr std::string_view of_patroni = "Patroni sets it";
constexpr std::string_view of_recovery = "Patroni sets what concerns recovery and replication";
constexpr std::string_view of_replication = "replication and pg_rewind need it as the cell sets it";
constexpr std::string_view of_access = "a plan must not decide who may log in, or how";
constexpr std::string_view of_archive = "WAL archiving belongs to backups, not to a plan";

constexpr std::array<reserved_parameter, 31> reserved_parameters{{
    {"listen_addresses", of_cell},
    {"port", of_cell},
    {"unix_socket_*", of_cell},
    {"data_directory", of_cell},
    {"config_file", of_cell},
    {"external_pid_file", of_cell},
    {"bonjour*", of_cell},
    {"ssl", "each node has a certificate of its own, which its cell makes"},
    {"ssl_*", "each node has a certificate of its own, which its cell makes"},
    {"hba_file", of_access},
    {"ident_file", of_access},
    {"password_encryption", of_access},
    {"krb_*", of_access},
    {"db_user_namespace", of_access},
    {"cluster_name", of_patroni},
    {"synchronous_standby_names", "Patroni sets it; write synchronous: true in the plan instead"},
    {"wal_level", of_replication},
    {"wal_log_hints", of_replication},
    {"hot_standby", of_replication},
    {"full_page_writes", of_replication},
    {"fsync", "a cluster that does not write to disk loses what it has acknowledged"},
    {"primary_conninfo", of_recovery},
    {"primary_slot_name", of_recovery},
    {"promote_trigger_file", of_recovery},
    {"restore_command", of_recovery},
    {"recovery_*", of_recovery},
    {"archive_*", of_archive},
    {"include", "a plan must not read a node's files"},
    {"include_*", "a plan must not read a node's files"},
    {"default_transaction_read_only", "the roles of read-only bindings have it instead"},
    {"matriarch.*", "Matriarch marks with it which settings a node has applied"},
}};

bool matches(std::string_view name, std::string_view pattern) {
  if (!pattern.ends_with('*'))
    return name == pattern;
  return name.starts_with(pattern.substr(0, pattern.size() - 1));
}

/// Parameters that Patroni checks itself: below the minimum, Patroni uses its own default and only
/// logs that.
struct counted_parameter {
  std::string_view name;
  long least;
};
constexpr std::array<counted_parameter, 6> counted_parameters{{
    {"max_connections", 25},
    {"max_locks_per_transaction", 32},
    {"max_prepared_transactions", 0},
    {"max_replication_slots", 4},
    {"max_wal_senders", 3},
    {"max_worker_processes", 2},
}};

/// Parameters that bound how much WAL the leader's disk keeps, in MB.
struct wal_parameter {
  std::string_view name;
  std::int64_t least;
};
constexpr std::array<wal_parameter, 2> wal_parameters{{
    {"max_slot_wal_keep_size", 32}, // two files of WAL
    {"wal_keep_size", 0},
}};
constexpr std::int64_t most_wal = 1024 * 1024; // 1 TB

/// A size for these two parameters as PostgreSQL reads it, in MB rounded down; nothing if it is
/// none.
std::optional<std::int64_t> megabytes_of(const std::string& text) {
  static const std::regex size(" *([0-9]{1,15}) *(kB|MB|GB|TB)? *");
  std::smatch parts;
  if (!std::regex_match(text, parts, size))
    return std::nullopt;
  constexpr std::int64_t step = 1024;
  const std::int64_t number = std::stoll(parts[1]);
  const auto unit = parts[2].str();
  if (unit == "kB")
    return number / step;
  const auto factor = unit == "GB" ? step : unit == "TB" ? step * step : 1;
  return std::min(number, most_wal + 1) * factor;
}

/// -1 means no bound, and a plan must not remove the bound: a single replica that does not fetch
/// its WAL would fill the leader's disk.
words check_wal(const std::string& name, const std::string& text) {
  const auto found = std::ranges::find(wal_parameters, name, &wal_parameter::name);
  if (found == wal_parameters.end())
    return {};
  const auto size = megabytes_of(text);
  if (size && *size >= found->least && *size <= most_wal)
    return {};
  return name + " must be from " + std::to_string(found->least)
         + "MB to 1TB, in kB, MB, GB or TB: without a bound one replica that does not fetch its "
           "WAL "
           "fills the leader's disk; found \""
         + text + "\"";
}

words check_count(const std::string& name, const std::string& text) {
  const auto counted = std::ranges::find(counted_parameters, name, &counted_parameter::name);
  if (counted == counted_parameters.end())
    return {};
  long number = 0;
  const auto* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec == std::errc() && parsed.ptr == end && number >= counted->least
      && number <= greatest_backend_count)
    return {};
  return name + " must be an integer from " + std::to_string(counted->least) + " to "
         + std::to_string(greatest_backend_count)
         + " (otherwise Patroni uses its own default), found \"" + text + "\"";
}

/// What is wrong with one parameter by itself.
words wrong_with(const std::string& given, const std::string& name, const std::string& text) {
  // An extension's parameter has the extension's name before a period.
  static const std::regex identifier("[a-z_][a-z0-9_$]{0,62}(\\.[a-z_][a-z0-9_$]{0,62})?");
  if (!std::regex_match(name, identifier))
    return "\"" + given
           + "\" is no name of a PostgreSQL parameter: letters, digits, _ and $, and a period "
             "after an "
             "extension's name";
  const auto reserved = std::ranges::find_if(
      reserved_parameters, [&](const auto& one) { return matches(name, one.name); });
  if (reserved != reserved_parameters.end())
    return "a plan cannot set " + given + ": " + std::string(reserved->why);
  if (std::ranges::any_of(text, [](unsigned char c) { return c < ' ' || c == 0x7f; }))
    return given + " must not contain control characters";
  if (auto wrong = check_count(name, text); !wrong.empty())
    return wrong;
  return check_wal(name, text);
}

} // namespace

model::checked_parameters check_parameters(const model::given_parameters& given) {
  model::checked_parameters checked;
  for (const auto& [as_given, text] : given) {
    const auto name = lower_case(as_given);
    auto wrong = wrong_with(as_given, name, text);
    if (wrong.empty() && !checked.parameters.emplace(name, text).second)
      wrong = "two parameters have the name " + name
              + ": PostgreSQL does not tell upper case from lower case";
    if (!wrong.empty()) {
      checked.fault = {as_given, std::move(wrong)};
      return checked;
    }
  }
  return checked;
}

} // namespace matriarch::engines::postgresql
