#include "base/logging.hpp"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

#include "base/line_sink.hpp"
#include "base/utf8.hpp"

namespace matriarch::base {

namespace {

using namespace std::chrono_literals;

// UTC, so that lines from machines in several time zones can be put in order.
constexpr const char* form = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
constexpr auto farewell = 1s;

/// The sink to stderr. It is never destroyed: any thread may log until the process ends.
line_sink*& to_stderr() {
  static line_sink* sink = nullptr;
  return sink;
}

std::string line_of(spdlog::level::level_enum level, const std::string& text) {
  spdlog::pattern_formatter formatter{form, spdlog::pattern_time_type::utc, ""};
  spdlog::memory_buf_t line;
  formatter.format(spdlog::details::log_msg{"", level, text}, line);
  return {line.data(), line.size()};
}

class queued_sink final : public spdlog::sinks::base_sink<std::mutex> {
  void sink_it_(const spdlog::details::log_msg& what) override {
    // A message may quote foreign text: keep it on one line, and limit its length. The project's
    // own messages have about 100 bytes, lists of faults about 1,000.
    constexpr std::size_t longest = 8'192;
    auto text = legible({what.payload.data(), what.payload.size()}, longest);
    std::ranges::replace_if(
        text, [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
    auto said = what;
    said.payload = text;
    spdlog::memory_buf_t line;
    formatter_->format(said, line);
    to_stderr()->post({line.data(), line.size()});
  }
  void flush_() override {}
};

/// Called for an exception that nobody catches, in any thread.
[[noreturn]] void say_why_it_ends() {
  try {
    if (auto thrown = std::current_exception())
      std::rethrow_exception(thrown);
    spdlog::critical("the process ends: something in it called std::terminate()");
  } catch (const std::exception& why) {
    spdlog::critical("the process ends by an exception: {}", why.what());
  } catch (...) {
    spdlog::critical("the process ends by an unknown exception");
  }
  flush_log();
  std::abort();
}

} // namespace

const std::vector<std::string>& log_levels() {
  static const std::vector<std::string> levels{"trace", "debug",    "info", "warning",
                                               "error", "critical", "off"};
  return levels;
}

void set_up_logging(const std::string& level) {
  if (to_stderr() == nullptr)
    to_stderr() = new line_sink{STDERR_FILENO, {[](std::uint64_t left_out) {
                                  return line_of(spdlog::level::warn,
                                                 std::to_string(left_out)
                                                     + " log lines were left out here, since "
                                                       "stderr took no more");
                                }}};
  auto logger = std::make_shared<spdlog::logger>("", std::make_shared<queued_sink>());
  logger->set_formatter(
      std::make_unique<spdlog::pattern_formatter>(form, spdlog::pattern_time_type::utc, ""));
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
  std::set_terminate(say_why_it_ends);
}

int refuse(const char* server, const std::string& why, int code) {
  auto line = fmt::format("matriarch {}: {}", server, why);
  if (to_stderr() == nullptr)
    fmt::print(stderr, "{}\n", line);
  else
    to_stderr()->post(std::move(line));
  flush_log();
  return code;
}

void flush_log() {
  if (to_stderr() != nullptr)
    to_stderr()->drain(farewell);
}

} // namespace matriarch::base
