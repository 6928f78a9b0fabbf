#include "exhaustion.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <set>
#include <thread>
#include <utility>

#include "later_release.hpp"
#include "model/plan.hpp"

namespace matriarch::simulation {

namespace {

using namespace std::chrono_literals;

// Long enough for every time-out on the way, the lease of a dead broker and Patroni's ttl.
constexpr model::duration longest_errand = 1500s;
// Member keys of removed nodes end with Patroni's ttl, and removals outlast the orders they follow.
constexpr model::duration calm_after = 45s;
// From the last fault until everything is in order. Includes the work still to do, another broker's
// lease, Patroni's ttl, a late order's time and Patroni's longest wait.
constexpr model::duration longest_settling = 300s;
// Pause between two checks.
constexpr model::duration look_again = 5s;
// From the next broker's becoming active to the arrival of what the last broker had sent.
constexpr model::duration late_after = 300ms;
// An order arrives at the latest within its time-out and a margin; this is within both.
constexpr model::duration latest_arrival = model::start_timeout + model::duration{1500};
// etcd gives up a request after 7 s; in this harness Patroni and PostgreSQL do so, too.
constexpr model::duration latest_arrival_of_others = 6500ms;
// How long the time after a workflow's last answer counts as part of it.
constexpr model::duration tail = 1s;

struct named_variant {
  variant how;
  const char* name;
};
constexpr std::array<named_variant, 13> names{{{variant::cut, "cut"},
                                               {variant::cut_undone, "cut-undone"},
                                               {variant::cut_done, "cut-done"},
                                               {variant::cut_mixed, "cut-mixed"},
                                               {variant::cut_late, "cut-late"},
                                               {variant::cut_later, "cut-later"},
                                               {variant::cut_skew, "cut-skew"},
                                               {variant::cut_twice, "cut-twice"},
                                               {variant::takeover, "takeover"},
                                               {variant::thaw, "thaw"},
                                               {variant::undone, "undone"},
                                               {variant::done, "done"},
                                               {variant::late, "late"}}};

bool at_a_message(variant how) {
  return how != variant::undone && how != variant::done && how != variant::late;
}

bool has_successor(variant how) {
  return how == variant::takeover || how == variant::thaw;
}

way fate_in(variant how, int nth) {
  switch (how) {
  case variant::cut_done:
  case variant::cut_twice:
  case variant::done:
    return way::done;
  case variant::cut_mixed:
    return std::array{way::late, way::done, way::undone}[static_cast<std::size_t>(nth % 3)];
  case variant::cut_late:
  case variant::cut_later:
  case variant::takeover:
  case variant::late:
    return way::late;
  default:
    return way::undone;
  }
}

const workflow* find_workflow(const std::string& name) {
  for (const auto& one : workflows())
    if (one.name == name)
      return &one;
  return nullptr;
}

broker_settings settings_for(const workflow& what, unsigned seed, bug planted) {
  broker_settings how;
  how.seed = seed;
  how.etcd_users = true;
  // Long enough that other messages come in between.
  how.latency = {4ms, 30ms, 30ms, 15ms};
  how.planted = planted;
  if (what.tune)
    what.tune(how);
  return how;
}

/// One run of a workflow.
class trial {
public:
  trial(const workflow& what, unsigned seed, bug planted, bool with_successor)
      : what_(what), here_(what.cells, settings_for(what, seed, planted)) {
    here_.outside.cells_are_fenced = planted != bug::no_fences;
    if (with_successor) {
      auto second = settings_for(what, seed, planted);
      second.address = "127.0.0.1:8081";
      here_.brokers.push_back(std::make_unique<simulated_broker>(here_.outside, second));
      here_.pass(500ms);
    }
    if (what_.prepare)
      what_.prepare(here_);
    line_ = here_.broker().line().shared_from_this();
    first_message_ = here_.broker().messages();
    first_effect_ = line_->effects();
    last_fault_ = here_.outside.now();
    user_ = std::make_unique<platform>(here_, what_.errands);
  }

  /// The possible cut points: the number of effects in flight after each message.
  struct course {
    std::vector<std::size_t> on_their_way;
    /// Whether an effect was sent since the previous message.
    std::vector<bool> sent;
    int effects = 0;
  };

  course undisturbed() {
    course seen;
    int before = first_effect_;
    here_.broker().after_each_message([&] {
      seen.on_their_way.push_back(line_->in_flight().size());
      seen.sent.push_back(line_->effects() != before);
      before = line_->effects();
    });
    live();
    here_.pass(tail);
    here_.broker().after_each_message({});
    seen.effects = line_->effects() - first_effect_;
    return seen;
  }

  void disturb(const cut_point& where) {
    where_ = where;
    if (at_a_message(where.how))
      here_.broker().after_each_message([this] {
        if (!struck_at_ && here_.broker().messages() - first_message_ == where_.step)
          strike();
      });
    else
      line_->fate_of = [this](int number) {
        if (number - first_effect_ != where_.step)
          return way::through;
        last_fault_ = here_.outside.now();
        return fate_in(where_.how, 0);
      };
  }

  aftermath run() {
    live();
    if (what_.afterwards) {
      what_.afterwards(here_.outside);
      last_fault_ = here_.outside.now();
    }
    bool disturbed = !where_.workflow.empty() && at_a_message(where_.how);
    here_.pass_until([&] { return tend() && (!disturbed || settled()); }, longest_settling);
    aftermath came;
    for (;;) {
      came.broken = all_broken();
      came.settled_after = here_.outside.now() - last_fault_;
      if (!came.broken.empty() && came.settled_after > longest_settling)
        return came;
      if (came.broken.empty()) {
        // Late arrivals must not undo this.
        here_.pass_until([&] { return !tend(); }, calm_after);
        came.broken = all_broken();
        if (came.broken.empty())
          return came;
      }
      here_.pass_until([&] { return !tend(); }, look_again);
    }
  }

private:
  std::vector<std::string> all_broken() {
    auto broken = broken_rules(here_.outside, what_.expected);
    for (const auto& one : later_.missing(here_.outside))
      broken.push_back(one);
    for (const auto& one : user_->complaints())
      broken.push_back("the platform: " + one);
    if (!user_->done())
      broken.push_back("the platform never ends: " + user_->state());
    return broken;
  }

  void live() {
    here_.pass_until(
        [&] { return tend() && user_->done() && (!what_.over || what_.over(here_.outside)); },
        longest_errand);
  }

  /// Runs in the middle of the broker's actors: only disconnects the world.
  void strike() {
    struck_at_ = last_fault_ = here_.outside.now();
    if (where_.how == variant::thaw) {
      line_->hold();
      here_.broker().freeze();
    } else {
      line_->cut([this](int nth) { return fate_in(where_.how, nth); });
    }
  }

  [[nodiscard]] bool settled() const { return !struck_at_ || (released_ && !thaw_at_); }

  /// Runs between the brokers' turns: restarts, late arrivals, and the platform. Always true.
  bool tend() {
    if (struck_at_ && !replaced_)
      replace();
    if (second_ && second_->is_cut()) {
      last_fault_ = here_.outside.now();
      second_.reset();
      here_.restart();
    }
    if (where_.how == variant::cut_later && replaced_
        && here_.outside.now() >= *struck_at_ + latest_arrival_of_others)
      line_->release_all_but_orders();
    if (replaced_ && !released_ && here_.outside.now() >= release_at())
      release();
    if (thaw_at_ && here_.outside.now() >= *thaw_at_) {
      thaw_at_.reset();
      last_fault_ = here_.outside.now();
      here_.broker().thaw();
    }
    user_->tend();
    return true;
  }

  void replace() {
    replaced_ = true;
    if (where_.how == variant::thaw)
      return;
    // The actor system is discarded.
    if (where_.how == variant::takeover) {
      here_.brokers.erase(here_.brokers.begin());
      return;
    }
    if (where_.how == variant::cut_skew)
      later_.write(here_.outside);
    here_.restart();
    if (where_.how == variant::cut_twice)
      cut_again();
  }

  /// The second crash happens at some point of the next broker's first steps.
  void cut_again() {
    constexpr int stride = 13;
    constexpr int first_steps = 97;
    int step = 1 + (where_.step * stride) % first_steps;
    auto second = here_.broker().line().shared_from_this();
    here_.broker().after_each_message([this, step, second, count = 0]() mutable {
      if (++count == step)
        second->cut(where_.step % 2 == 0 ? way::done : way::undone);
    });
    here_.run();
    second_ = second;
  }

  [[nodiscard]] model::wall_time release_at() {
    if (where_.how == variant::cut_later)
      return *struck_at_ + latest_arrival;
    if (!acting_since_ && here_.brokers.back()->active())
      acting_since_ = here_.outside.now();
    return acting_since_ ? *acting_since_ + late_after : model::wall_time::max();
  }

  void release() {
    released_ = true;
    last_fault_ = here_.outside.now();
    line_->release();
    if (where_.how == variant::thaw)
      thaw_at_ = here_.outside.now() + late_after;
  }

  const workflow& what_;
  stage here_;
  std::shared_ptr<wire> line_;   ///< the first broker's
  std::shared_ptr<wire> second_; ///< the second broker's, while it is to be cut, too
  int first_message_ = 0;
  int first_effect_ = 0;
  std::unique_ptr<platform> user_;
  later_release later_;
  cut_point where_;
  std::optional<model::wall_time> struck_at_;
  model::wall_time last_fault_; ///< time of the world's last fault
  std::optional<model::wall_time> acting_since_;
  std::optional<model::wall_time> thaw_at_;
  bool replaced_ = false;
  bool released_ = false;
};

std::vector<cut_point> points_of(const workflow& what, unsigned seed, const trial::course& seen) {
  std::vector<cut_point> points;
  int step = 0;
  auto add = [&](variant how) { points.push_back({what.name, step, how, seed}); };
  for (std::size_t i = 0; i < seen.on_their_way.size(); ++i) {
    ++step;
    if (seen.on_their_way[i] == 0) {
      add(variant::cut);
      add(variant::cut_twice);
      continue;
    }
    for (auto how : {variant::cut_undone, variant::cut_done, variant::cut_late})
      add(how);
    if (seen.on_their_way[i] > 1)
      add(variant::cut_mixed);
    if (seen.sent[i])
      for (auto how : {variant::cut_later, variant::cut_skew, variant::takeover, variant::thaw})
        add(how);
  }
  for (step = 1; step <= seen.effects; ++step)
    for (auto how : {variant::undone, variant::done, variant::late})
      add(how);
  return points;
}

} // namespace

const char* name_of(variant how) {
  return std::ranges::find(names, how, &named_variant::how)->name;
}

std::string text_of(const cut_point& where) {
  return fmt::format("{}:{}:{}:{}", where.workflow, where.step, name_of(where.how), where.seed);
}

result<cut_point> cut_point_from(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t from = 0; from <= text.size();) {
    auto colon = std::min(text.find(':', from), text.size());
    parts.push_back(text.substr(from, colon - from));
    from = colon + 1;
  }
  constexpr std::size_t expected = 4;
  if (parts.size() != expected)
    return failure{"a cut point is WORKFLOW:STEP:VARIANT:SEED, for instance move:42:cut-late:3"};
  cut_point where;
  where.workflow = parts[0];
  if (find_workflow(where.workflow) == nullptr)
    return failure{"there is no workflow " + where.workflow};
  auto how = std::ranges::find_if(names, [&](const auto& one) { return one.name == parts[2]; });
  if (how == names.end())
    return failure{"there is no variant " + parts[2]};
  where.how = how->how;
  auto number = [](const std::string& digits, auto& into) {
    auto [end, wrong] = std::from_chars(digits.data(), digits.data() + digits.size(), into);
    return wrong == std::errc{} && end == digits.data() + digits.size();
  };
  if (!number(parts[1], where.step) || !number(parts[3], where.seed))
    return failure{"the step and the seed are numbers"};
  return where;
}

aftermath run_to(const cut_point& where, bug planted) {
  trial one{*find_workflow(where.workflow), where.seed, planted, has_successor(where.how)};
  one.disturb(where);
  return one.run();
}

tally exhaust(const workflow& what, const extent& how) {
  tally sum;
  sum.workflow = what.name;
  std::vector<cut_point> points;
  std::set<variant> variants;
  for (unsigned seed = 0; seed < how.seeds; ++seed) {
    auto seen = trial{what, seed, how.planted, false}.undisturbed();
    sum.messages += static_cast<int>(seen.on_their_way.size());
    sum.effects += seen.effects;
    std::ranges::copy(points_of(what, seed, seen), std::back_inserter(points));
  }
  std::size_t nth = 0;
  std::erase_if(points, [&](const auto&) { return nth++ % how.every != 0; });
  std::vector<aftermath> came(points.size());
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> violations{0};
  std::atomic<std::size_t> tried{0};
  auto work = [&] {
    for (auto i = next++; i < points.size() && violations < how.enough; i = next++) {
      came[i] = run_to(points[i], how.planted);
      violations += came[i].broken.empty() ? 0 : 1;
      ++tried;
    }
  };
  std::vector<std::thread> helpers;
  for (int i = 1; i < how.threads; ++i)
    helpers.emplace_back(work);
  work();
  for (auto& one : helpers)
    one.join();
  for (std::size_t i = 0; i < points.size(); ++i) {
    variants.insert(points[i].how);
    sum.longest_settling = std::max(sum.longest_settling, came[i].settled_after);
    if (!came[i].broken.empty())
      sum.violations.push_back({points[i], came[i].broken});
  }
  sum.variants = static_cast<int>(variants.size());
  sum.cut_points = static_cast<int>(tried);
  return sum;
}

std::string table_of(const std::vector<tally>& tallies) {
  auto text = fmt::format("{:<22} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10}\n", "workflow", "messages",
                          "effects", "variants", "cut points", "settled s", "violations");
  auto row = [](const std::string& name, const tally& one, std::size_t violations) {
    return fmt::format("{:<22} {:>8} {:>8} {:>8} {:>10} {:>10.1f} {:>10}\n", name, one.messages,
                       one.effects, one.variants, one.cut_points,
                       std::chrono::duration<double>{one.longest_settling}.count(), violations);
  };
  tally sum;
  std::size_t violations = 0;
  for (const auto& one : tallies) {
    text += row(one.workflow, one, one.violations.size());
    sum.messages += one.messages;
    sum.effects += one.effects;
    sum.variants = std::max(sum.variants, one.variants);
    sum.cut_points += one.cut_points;
    sum.longest_settling = std::max(sum.longest_settling, one.longest_settling);
    violations += one.violations.size();
  }
  return text + row("all", sum, violations);
}

} // namespace matriarch::simulation
