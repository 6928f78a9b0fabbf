#include "engines/postgresql/cell/own_settings.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/event_loop.hpp"
#include "base/utf8.hpp"
#include "engines/postgresql/cell/settings.hpp"

namespace matriarch::engines::postgresql {

namespace {

using judgement = result<settings_judge::judgement>;

// Longer than the judge allows itself for a question and the program run that is under way then, so
// that the judge can report why it has no answer and leaves no PostgreSQL behind.
constexpr std::chrono::seconds patience{36};

std::string field_of(const cell::cell_config& config, const std::string& plan,
                     const std::string& parameter) {
  auto own = config.plans.find(plan);
  return own != config.plans.end() && own->second.contains(parameter)
             ? fmt::format("plans.{}.parameters.{}", plan, parameter)
             : "postgresql.parameters." + parameter;
}

/// Adds the faults of one plan, except those in `known`.
void add_faults(const cell::cell_config& config, const std::string& plan,
                const std::vector<settings_fault>& found, const std::vector<settings_fault>& known,
                std::vector<std::string>& into) {
  auto parameters = config.parameters_of(plan);
  for (const auto& one : found) {
    if (std::ranges::find(known, one) != known.end())
      continue;
    auto has = parameters.find(one.parameter);
    if (has == parameters.end())
      into.push_back(
          (plan.empty() ? "postgresql.parameters: " : fmt::format("plans.{}.parameters: ", plan))
          + one.words);
    else
      into.push_back(fmt::format("{} is {}: {}", field_of(config, plan, one.parameter),
                                 matriarch::quoted(has->second), one.words));
  }
}

} // namespace

plans_parameters own_settings(const cell::cell_config& config) {
  plans_parameters all;
  all[""] = config.engine->parameters;
  for (const auto& [id, parameters] : config.plans)
    all[id] = config.parameters_of(id);
  return all;
}

std::vector<std::string> own_faults(const cell::cell_config& config, const plans_faults& found) {
  auto of_all = found.find("");
  const std::vector<settings_fault> none;
  const auto& known = of_all == found.end() ? none : of_all->second;
  std::vector<std::string> words;
  for (const auto& [plan, faults] : found)
    add_faults(config, plan, faults, plan.empty() ? none : known, words);
  return words;
}

cell::own_judgement judge_own_settings(const cell::cell_config& config, cell::node_driver& driver) {
  namespace fs = std::filesystem;
  std::error_code unknown;
  auto directory = (fs::temp_directory_path(unknown) / "matriarch-settings-XXXXXX").string();
  if (unknown || ::mkdtemp(directory.data()) == nullptr)
    return {{},
            {fmt::format("the directory {} for checking the settings cannot be made", directory)}};
  auto promised = std::make_shared<std::promise<judgement>>();
  auto answer = promised->get_future();
  cell::own_judgement all;
  {
    base::event_loop loop;
    std::unique_ptr<settings_judge> judge;
    loop.run([&] {
      settings_judge::fleet_observations with{settings_of(config).bin_dir,
                                              directory,
                                              &driver,
                                              {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/"},
                                              false,
                                              true};
      judge = std::make_unique<settings_judge>(std::move(with), loop);
      judge->ask(own_settings(config),
                 [promised](const judgement& came) { promised->set_value(came); });
    });
    if (answer.wait_for(patience) != std::future_status::ready) {
      all.unknown.emplace_back("PostgreSQL did not answer in time whether it starts with them");
    } else if (auto came = answer.get(); !came) {
      all.unknown.push_back(came.error());
    } else {
      all.faults = own_faults(config, came->faults);
      for (const auto& [plan, why] : came->unjudged)
        all.unknown.push_back(
            (plan.empty() ? "postgresql.parameters: " : fmt::format("plans.{}: ", plan)) + why);
    }
    loop.run([&] { judge.reset(); });
  }
  fs::remove_all(directory, unknown);
  return all;
}

} // namespace matriarch::engines::postgresql
