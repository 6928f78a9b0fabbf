#pragma once

#include <string>
#include <vector>

#include "workflows.hpp"

/// Workflows that are cut after every message and at every write, in every way.
namespace matriarch::simulation {

/// Where and how a workflow is disturbed. For the first group (up to thaw) a step is a message
/// taken by an actor, for the second an effect that is sent out; both are counted from the
/// workflow's start.
enum class variant {
  cut,        ///< a crash while nothing is in flight; the broker is restarted, as in all of these
  cut_undone, ///< a crash; nothing in flight arrives
  cut_done,   ///< a crash; everything in flight arrives, unanswered
  cut_mixed,  ///< a crash; of several effects in flight some arrive, some do not, some are late
  cut_late,   ///< a crash; everything in flight arrives when the next broker is active
  cut_later,  ///< the same, as late as an order may be
  cut_skew,   ///< a crash; a later release's broker is active in between and writes unknown members
  cut_twice,  ///< a crash, and another one while the next broker recovers
  takeover,   ///< a crash; another broker takes over, and then everything in flight arrives
  thaw,   ///< frozen while another broker takes over; everything in flight arrives, then it thaws
  undone, ///< no crash; an effect does not arrive
  done,   ///< no crash; an effect's answer is lost
  late,   ///< no crash; an effect arrives after its sender has given up
};

[[nodiscard]] const char* name_of(variant how);

/// A place to disturb a workflow, as text `move:42:cut-late:3`.
struct cut_point {
  std::string workflow;
  int step = 0;
  variant how = variant::cut;
  unsigned seed = 0;
  bool operator==(const cut_point&) const = default;
};

[[nodiscard]] std::string text_of(const cut_point& where);
/// Parses a cut point; a failure says what is wrong.
[[nodiscard]] result<cut_point> cut_point_from(const std::string& text);

/// The result of one disturbance.
struct aftermath {
  std::vector<std::string> broken;  ///< the broken rules, in words
  model::duration settled_after{0}; ///< from the last fault until everything was in order
};

/// Runs a workflow with one disturbance.
[[nodiscard]] aftermath run_to(const cut_point& where, bug planted = bug::none);

/// The results of all cut points of a workflow.
struct tally {
  std::string workflow;
  int messages = 0; ///< of the undisturbed workflow
  int effects = 0;
  int variants = 0;
  int cut_points = 0;
  model::duration longest_settling{0};
  struct violation {
    cut_point where;
    std::vector<std::string> broken;
  };
  std::vector<violation> violations;
};

struct extent {
  unsigned seeds = 1; ///< orders in which actors run, from 0; each has its own cut points
  int threads = 1;
  std::size_t every = 1; ///< tests only every n-th cut point
  bug planted = bug::none;
  std::size_t enough = static_cast<std::size_t>(-1); ///< stops after this many violations
};

/// Disturbs a workflow at every cut point.
[[nodiscard]] tally exhaust(const workflow& what, const extent& how);

/// The tallies as a table, with their sum.
[[nodiscard]] std::string table_of(const std::vector<tally>& tallies);

} // namespace matriarch::simulation
