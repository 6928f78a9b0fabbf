#include "engines/postgresql/cell/settings_judge.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace matriarch::engines::postgresql {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Each program runs for some hundredths of a second.
constexpr milliseconds look_pause{10};
constexpr seconds longest_run{10};
// Shorter than brokers wait for an answer.
constexpr seconds longest_question{25};
constexpr std::size_t most_questions = 16;
// The description of all parameters is 50 kB.
constexpr std::uintmax_t most_printed = 1024 * 1024;
// More than a broker has plans; beyond that, results are dropped and found again.
constexpr std::size_t most_remembered = 2'000;
constexpr std::size_t most_libraries = 2'000;
constexpr std::string_view library_suffix = ".so";

/// Changes when a program is replaced by another one of the same name; empty if there is none.
std::string fingerprint_of(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0)
    return {};
  return fmt::format("{} {} {} {}.{}", found.st_dev, found.st_ino, found.st_size,
                     found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
}

bool is_there(const std::string& path) {
  std::error_code unknown;
  return fs::is_regular_file(path, unknown);
}

std::string first_line_of(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

/// The parameter that a complaint is about, also if the message lacks the word `parameter`. Nothing
/// if it is about none of these.
std::optional<std::string> concerned(const complaint& what,
                                     const cell::engine_parameters& parameters) {
  if (!what.parameter.empty()) {
    // PostgreSQL writes TimeZone for a parameter that may be given as timezone.
    auto name = what.parameter;
    std::ranges::transform(name, name.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return name;
  }
  auto named = std::ranges::find_if(parameters, [&](const auto& one) {
    return what.message.find(one.first) != std::string::npos;
  });
  return named == parameters.end() ? std::nullopt : std::optional{named->first};
}

std::vector<std::string> libraries_below(const std::string& directory) {
  std::vector<std::string> found;
  for (auto& name : base::names_in(directory))
    if (name.ends_with(library_suffix) && found.size() < most_libraries)
      found.push_back(name.substr(0, name.size() - library_suffix.size()));
  return found;
}

} // namespace

settings_judge::settings_judge(fleet_observations with, base::event_loop& loop)
    : with_(std::move(with)), loop_(loop) {}

std::string settings_judge::path_of(const char* name) const {
  return with_.bin_dir + "/" + name;
}

void settings_judge::ask(plans_parameters plans, answer_function then) {
  questions_.push_back({std::move(plans), std::move(then), clock::now() + longest_question});
  loop_.post(life_.guard([this] {
    if (questions_.size() > most_questions)
      fail_first("too many ask at once; ask again");
    go_on();
  }));
}

void settings_judge::look() {
  go_on();
}

void settings_judge::go_on() {
  if (running_)
    return;
  auto fingerprint = fingerprint_of(path_of("postgres"));
  if (fingerprint.empty())
    return fail_all(fmt::format("there is no PostgreSQL in {}", with_.bin_dir));
  if (fingerprint != fingerprint_)
    return learn(fingerprint);
  while (!questions_.empty()) {
    if (clock::now() > questions_.front().until) {
      fail_first("it takes longer; ask again");
      continue;
    }
    for (const auto& [plan, parameters] : questions_.front().plans)
      if (auto text = render_settings(parameters); !judged_.contains(text)) {
        if (judged_.size() >= most_remembered)
          judged_.clear();
        return try_settings(parameters, {}, text);
      }
    answer_first();
  }
}

void settings_judge::learn(const std::string& fingerprint) {
  run({path_of("postgres"), "--version"}, [this, fingerprint](const end& version) {
    installed_postgresql has;
    has.version = version_in(version.printed);
    if (has.version.empty())
      return fail_all(fmt::format("{} --version: {} {}", path_of("postgres"), version.how,
                                  first_line_of(version.printed)));
    run({path_of("postgres"), "--describe-config"},
        [this, fingerprint, has = std::move(has)](const end& described) mutable {
          has.parameters = parse_description(described.printed);
          if (!described.well() || has.parameters.empty())
            return fail_all(fmt::format("{} --describe-config: {} {}", path_of("postgres"),
                                        described.how, first_line_of(described.printed)));
          has_ = std::move(has);
          // pg_config is a separate package, so it may be missing.
          if (::access(path_of("pg_config").c_str(), X_OK) != 0)
            return learn_libraries("", fingerprint);
          run({path_of("pg_config"), "--pkglibdir"}, [this, fingerprint](const end& said) {
            learn_libraries(said.well() ? first_line_of(said.printed) : "", fingerprint);
          });
        });
  });
}

void settings_judge::learn_libraries(const std::string& library_dir,
                                     const std::string& fingerprint) {
  has_.library_dir = library_dir;
  if (library_dir.empty()) {
    // Debian has the libraries next to the programs; others may not.
    std::error_code unknown;
    auto beside = fs::canonical(with_.bin_dir, unknown).parent_path().string() + "/lib";
    if (!unknown && is_there(beside + "/plpgsql.so"))
      has_.library_dir = beside;
  }
  judged_.clear();
  fingerprint_ = fingerprint;
  if (!with_.silent)
    spdlog::info("PostgreSQL {} is in {}, its libraries are in {}", has_.version, with_.bin_dir,
                 has_.library_dir.empty() ? "a place that is not known without pg_config"
                                          : has_.library_dir);
  go_on();
}

/// Tries a plan's settings. PostgreSQL checks values only if it knows all names, so unknown
/// parameters are removed and the rest is tried again.
void settings_judge::try_settings(const cell::engine_parameters& parameters, verdict so_far,
                                  const std::string& asked_as) {
  const auto& user = with_.driver->user();
  auto owner_of_file = base::owner{user.uid, user.gid};
  if (auto error = base::make_directory(with_.directory, 0711, {geteuid(), getegid()}))
    return fail_first(*error);
  if (auto error = base::replace_file(with_.directory + "/postgresql.conf",
                                      render_settings(parameters), owner_of_file))
    return fail_first(*error);
  // Parameters given here override the file's, whose values are checked nevertheless.
  run({path_of("postgres"), "-D", with_.directory, "-c", "log_line_prefix=", "-c",
       "log_min_messages=warning", "-c", "log_destination=stderr", "-c",
       "log_error_verbosity=default", "-c", "lc_messages=C", "-C", "server_version"},
      [this, parameters, so_far = std::move(so_far), asked_as](const end& came) mutable {
        if (came.well()) {
          judged_[asked_as] = std::move(so_far);
          return go_on();
        }
        auto complaints = complaints_in(came.printed);
        if (complaints.empty())
          so_far.unjudged = fmt::format("PostgreSQL did not check the settings: {} {}", came.how,
                                        first_line_of(came.printed));
        auto known = parameters;
        for (const auto& one : complaints) {
          auto parameter = concerned(one, parameters);
          // A complaint about something else, such as a full disk, is no plan's fault.
          if (!parameter)
            so_far.unjudged = "PostgreSQL says of none of these settings: " + one.message;
          else
            so_far.faults.push_back({*parameter, words_of(one, has_)});
          if (one.unknown)
            known.erase(one.parameter);
        }
        if (known.size() < parameters.size())
          return try_settings(known, std::move(so_far), asked_as);
        judged_[asked_as] = std::move(so_far);
        go_on();
      });
}

/// Looks for libraries each time: they can be installed while PostgreSQL stays the same.
void settings_judge::answer_first() {
  auto first = std::move(questions_.front());
  questions_.pop_front();
  judgement all{has_, {}, {}};
  all.has.libraries = libraries_below(has_.library_dir);
  for (const auto& [plan, parameters] : first.plans) {
    auto said = judged_[render_settings(parameters)];
    for (auto& one : missing_libraries(parameters, all.has, is_there))
      said.faults.push_back(std::move(one));
    if (!said.unjudged.empty())
      all.unjudged.emplace(plan, std::move(said.unjudged));
    if (!said.faults.empty())
      all.faults.emplace(plan, std::move(said.faults));
  }
  // A missing locale or file may be installed later, so plans with faults are judged again next
  // time.
  std::erase_if(judged_, [](const auto& one) { return !one.second.good(); });
  first.then(all);
}

void settings_judge::fail_first(const std::string& why) {
  if (questions_.empty())
    return;
  auto first = std::move(questions_.front());
  questions_.pop_front();
  first.then(failure{why});
  if (!running_ && !questions_.empty())
    loop_.post(life_.guard([this] { go_on(); }));
}

void settings_judge::fail_all(const std::string& why) {
  while (!questions_.empty()) {
    auto first = std::move(questions_.front());
    questions_.pop_front();
    first.then(failure{why});
  }
}

void settings_judge::run(std::vector<std::string> arguments, std::function<void(const end&)> then) {
  auto log = with_.directory + "/log";
  auto failed = base::make_directory(with_.directory, 0711, {geteuid(), getegid()});
  if (!failed)
    failed = base::replace_file(log, "", {geteuid(), getegid()});
  if (failed)
    return fail_all(*failed);
  cell::program what;
  what.arguments = std::move(arguments);
  what.environment = with_.environment;
  what.directory = "/";
  what.log = log;
  if (with_.hides) {
    what.own = with_.directory;
    what.needed = with_.needed;
    what.needed.push_back(with_.bin_dir);
  }
  auto started = with_.driver->run(what);
  if (!started)
    return fail_all(started.error());
  running_ = {*started, clock::now() + longest_run, std::move(then)};
  watch();
}

void settings_judge::watch() {
  loop_.after(look_pause, life_.guard([this] {
    auto how = with_.driver->end_of(running_->process);
    if (!how) {
      if (clock::now() > running_->until)
        base::signal_process(running_->process, SIGKILL);
      return watch();
    }
    end came;
    came.how = *std::move(how);
    auto log = with_.directory + "/log";
    std::error_code unknown;
    if (auto size = fs::file_size(log, unknown); unknown || size > most_printed)
      came.how = "it prints too much";
    else if (auto said = base::read_file(log); said && *said)
      came.printed = **std::move(said);
    auto then = std::move(running_->then);
    running_.reset();
    then(came);
  }));
}

} // namespace matriarch::engines::postgresql
