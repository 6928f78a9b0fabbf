#include "base/processes.hpp"

#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "base/files.hpp"

namespace matriarch::base {

namespace {

// Text that is searched for in a title is near its beginning.
constexpr std::size_t longest_title = 512;

/// The state letter and the start time of a process; nothing if there is no such process.
struct process_status {
  char state;
  std::uint64_t start_time;
};
std::optional<process_status> status_of(pid_t pid) {
  auto read = read_file(fmt::format("/proc/{}/stat", pid));
  if (!read || !*read)
    return std::nullopt;
  // The name, in parentheses, can contain anything; the fields after it are numbers.
  auto after_name = (*read)->rfind(')');
  if (after_name == std::string::npos)
    return std::nullopt;
  std::istringstream fields{(*read)->substr(after_name + 1)};
  process_status status{};
  fields >> status.state;
  constexpr int fields_to_start_time = 18; // from the 3rd, the state, to the 22nd; proc(5)
  std::string skipped;
  for (int i = 0; i < fields_to_start_time; ++i)
    fields >> skipped;
  fields >> status.start_time;
  if (!fields)
    return std::nullopt;
  return status;
}

} // namespace

std::string boot_id() {
  auto read = read_file("/proc/sys/kernel/random/boot_id");
  if (!read || !*read)
    return {};
  auto text = **read;
  while (!text.empty() && text.back() == '\n')
    text.pop_back();
  return text;
}

std::optional<std::uint64_t> start_time_of(pid_t pid) {
  auto status = status_of(pid);
  return status ? std::optional{status->start_time} : std::nullopt;
}

std::optional<std::uint64_t> running_since(pid_t pid) {
  auto status = status_of(pid);
  if (!status || status->state == 'Z' || status->state == 'X')
    return std::nullopt;
  return status->start_time;
}

bool is_alive(const process_identity& process) {
  return process.pid > 0 && running_since(process.pid) == process.start_time
         && boot_id() == process.boot_id;
}

void signal_process(const process_identity& process, int number) {
  if (is_alive(process))
    ::kill(process.pid, number);
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  for (const auto& name : names_in("/proc")) {
    pid_t pid = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc{} && end == name.data() + name.size())
      found.push_back(pid);
  }
  return found;
}

std::vector<std::string> arguments_of(pid_t pid) {
  auto read = read_file(fmt::format("/proc/{}/cmdline", pid));
  if (!read || !*read)
    return {};
  const auto& text = **read;
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < text.size();) {
    auto end = std::min(text.find('\0', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

std::string title_of(pid_t pid) {
  std::ifstream file{fmt::format("/proc/{}/cmdline", pid)};
  std::string title(longest_title, '\0');
  file.read(title.data(), static_cast<std::streamsize>(title.size()));
  return title.substr(0, title.find('\0'));
}

bool handles_signal(pid_t pid, int number) {
  constexpr std::string_view caught = "SigCgt:\t";
  std::ifstream file{fmt::format("/proc/{}/status", pid)};
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(caught))
      return (std::strtoull(line.c_str() + caught.size(), nullptr, 16) >> (number - 1) & 1) != 0;
  return false;
}

std::optional<std::pair<dev_t, ino_t>> pid_namespace_of(pid_t pid) {
  struct stat space {};
  if (::stat(fmt::format("/proc/{}/ns/pid", pid).c_str(), &space) != 0)
    return std::nullopt;
  return std::pair{space.st_dev, space.st_ino};
}

} // namespace matriarch::base
