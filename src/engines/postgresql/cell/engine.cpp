#include "engines/postgresql/cell/engine.hpp"

#include <array>
#include <chrono>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/programs.hpp"
#include "engines/postgresql/cell/guard_check.hpp"
#include "engines/postgresql/cell/node.hpp"
#include "engines/postgresql/cell/own_settings.hpp"
#include "engines/postgresql/cell/request.hpp"
#include "engines/postgresql/cell/settings.hpp"
#include "engines/postgresql/cell/settings_judge.hpp"
#include "store/lifetime.hpp"

namespace matriarch::engines::postgresql {

namespace {

constexpr std::chrono::seconds postgresql_look{60};

/// Programs without which a node cannot be made, copied or brought back.
constexpr std::array programs_of_postgresql{
    "postgres",       "initdb",    "pg_ctl",     "pg_basebackup",
    "pg_controldata", "pg_rewind", "pg_isready", "psql"};

class postgresql_engine final : public cell::node_engine {
public:
  postgresql_engine(const cell::cell_config& config, cell::node_driver& driver,
                    base::event_loop& loop)
      : config_(config), driver_(driver), loop_(loop), guard_(config, driver),
        judge_({.bin_dir = settings_of(config).bin_dir,
                .directory = config.data_dir + "/postgresql",
                .driver = &driver,
                .environment = environment_of("/", ""),
                .needed = {settings_of(config).patroni.executable}},
               loop) {}

  [[nodiscard]] std::string name() const override { return "postgresql"; }
  [[nodiscard]] std::string title() const override { return "PostgreSQL"; }
  [[nodiscard]] const cell::request_rules& rules() const override { return rules_of_requests(); }
  [[nodiscard]] std::string version() const override { return judge_.version(); }

  void look_at_programs(bool versions, base::findings& found) const override {
    const auto& patroni = settings_of(config_).patroni.executable;
    if (auto wrong = base::why_not_runnable(patroni))
      found.fault("patroni", fmt::format("Patroni: {} {}; install it, or say where it is with "
                                         "patroni.executable",
                                         patroni, *wrong));
    else if (versions)
      found.good("patroni", fmt::format("{}: {}", patroni,
                                        base::version_of(patroni, "--version")
                                            .value_or("it did not say its version in time")));
    const auto& programs = settings_of(config_).bin_dir;
    std::string missing;
    for (const auto* name : programs_of_postgresql)
      if (auto wrong = base::why_not_runnable(programs + "/" + name))
        missing += fmt::format("{}{} {}", missing.empty() ? "" : ", ", name, *wrong);
    if (!missing.empty())
      found.fault("postgresql",
                  fmt::format("PostgreSQL: in {} {}; install its server, or say where it is with "
                              "postgresql.bin_dir",
                              programs, missing));
    else if (versions)
      found.good("postgresql", fmt::format("{}: {}", programs,
                                           base::version_of(programs + "/postgres", "--version")
                                               .value_or("it did not say its version in time")));
  }

  [[nodiscard]] cell::own_judgement judge_own_settings() override {
    return postgresql::judge_own_settings(config_, driver_);
  }

  void start(bool has_nodes) override {
    guard_.begin();
    look();
    if (has_nodes)
      judge_own();
  }
  void tick() override { guard_.go_on(); }

  [[nodiscard]] cell::readiness ready() const override { return guard_.is(); }
  [[nodiscard]] std::string why_refused() const override { return guard_.refusal(); }
  void when_known(std::function<void()> then) override { guard_.when_known(std::move(then)); }
  void node_ended(const std::optional<std::string>& how) override { guard_.node_ended(how); }

  [[nodiscard]] std::unique_ptr<cell::engine_node> attach(cell::node_state& which) override {
    return std::make_unique<postgresql_node>(config_, driver_, loop_, which);
  }

  void describe_settings(text_function then) override {
    judge_.ask({}, [then = std::move(then)](const result<settings_judge::judgement>& came) {
      then(came ? result<std::string>{text_of(came->has)}
                : result<std::string>{failure{came.error()}});
    });
  }

  [[nodiscard]] std::optional<std::string> judge_settings(const std::string& question,
                                                          text_function then) override {
    auto plans = parse_plans(question);
    if (!plans)
      return plans.error();
    judge_.ask(*std::move(plans),
               [then = std::move(then)](const result<settings_judge::judgement>& came) {
                 then(came ? result<std::string>{text_of(came->has, came->faults, came->unjudged)}
                           : result<std::string>{failure{came.error()}});
               });
    return std::nullopt;
  }

private:
  void look() {
    loop_.after(postgresql_look, life_.guard([this] { look(); }));
    judge_.look();
  }

  /// Not needed if there were no nodes at the start: the start has done it then.
  void judge_own() {
    judge_.ask(own_settings(config_), [this](const result<settings_judge::judgement>& came) {
      if (came)
        for (const auto& words : own_faults(config_, came->faults))
          spdlog::error("what runs here is looked after, and new nodes do not start: {}", words);
    });
  }

  const cell::cell_config& config_;
  cell::node_driver& driver_;
  base::event_loop& loop_;
  guard_check guard_;
  settings_judge judge_;
  store::lifetime life_;
};

class own_kind final : public cell::engine_kind {
public:
  [[nodiscard]] const cell::engine_sections& sections() const override { return file_sections(); }
  [[nodiscard]] std::unique_ptr<cell::node_engine> make(const cell::cell_config& config,
                                                        cell::node_driver& driver,
                                                        base::event_loop& loop) const override {
    return std::make_unique<postgresql_engine>(config, driver, loop);
  }
};

} // namespace

const cell::engine_kind& node_kind() {
  static const own_kind one;
  return one;
}

} // namespace matriarch::engines::postgresql
