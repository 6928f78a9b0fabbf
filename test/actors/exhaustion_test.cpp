#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "exhaustion.hpp"

using namespace matriarch;
using namespace matriarch::simulation;

namespace {

extent all_of_it;

/// Number of broken cut points that are reported in full; the others are similar.
constexpr std::size_t told_of = 5;

void tell(const tally& one) {
  for (std::size_t i = 0; i < one.violations.size() && i < told_of; ++i) {
    const auto& [where, broken] = one.violations[i];
    std::printf("--replay=%s\n", text_of(where).c_str());
    for (const auto& rule : broken)
      std::printf("    %s\n", rule.c_str());
  }
  if (one.violations.size() > told_of)
    std::printf("    … and %zu more\n", one.violations.size() - told_of);
}

std::vector<tally> tallies;

int replay(const std::string& text) {
  auto where = cut_point_from(text);
  if (!where.ok()) {
    std::fprintf(stderr, "%s\n", where.error().c_str());
    return EXIT_FAILURE;
  }
  auto broken = run_to(*where).broken;
  for (const auto& rule : broken)
    std::printf("%s: %s\n", text.c_str(), rule.c_str());
  if (broken.empty())
    std::printf("%s: nothing lost, nothing left\n", text.c_str());
  return broken.empty() ? EXIT_SUCCESS : EXIT_FAILURE;
}

/// The value of `--name=value`, or nullptr if it is another argument.
const char* value_of(std::string_view argument, std::string_view name) {
  return argument.starts_with(name) ? argument.data() + name.size() : nullptr;
}

} // namespace

TEST_CASE("wherever a workflow is cut, nothing is lost and nothing is left behind") {
  for (const auto& one : workflows()) {
    tallies.push_back(exhaust(one, all_of_it));
    tell(tallies.back());
    CHECK_MESSAGE(tallies.back().violations.empty(), one.name);
  }
}

// Tests of the harness itself: without one of the broker's rules it must report violations.

namespace {

std::size_t violations_with(bug planted, const char* workflow_name) {
  auto how = all_of_it;
  how.planted = planted;
  how.enough = 1;
  for (const auto& one : workflows()) {
    if (one.name != workflow_name)
      continue;
    // Most bugs show at many cut points, so a few from everywhere find them soonest.
    for (std::size_t every : {17, 1}) {
      how.every = every;
      if (auto found = exhaust(one, how).violations.size(); found > 0)
        return found;
    }
  }
  return 0;
}

} // namespace

TEST_CASE("the harness finds nodes that are started before they are recorded") {
  CHECK(violations_with(bug::act_first, "provision") > 0);
  CHECK(violations_with(bug::act_first, "grow") > 0);
  CHECK(violations_with(bug::act_first, "repair") > 0);
}

TEST_CASE("the harness finds removed nodes that have no grave") {
  CHECK(violations_with(bug::no_graves, "move") > 0);
  CHECK(violations_with(bug::no_graves, "deprovision") > 0);
}

TEST_CASE("the harness finds a removal that is written in pieces") {
  CHECK(violations_with(bug::piecemeal_removal, "deprovision") > 0);
  CHECK(violations_with(bug::piecemeal_removal, "delete-midway") > 0);
}

TEST_CASE("the harness finds success that is reported before a router has confirmed it") {
  CHECK(violations_with(bug::unconfirmed, "provision") > 0);
  CHECK(violations_with(bug::unconfirmed, "bind-reader") > 0);
  CHECK(violations_with(bug::unconfirmed, "move") > 0);
  CHECK(violations_with(bug::unconfirmed, "provision-lost-port") > 0);
}

TEST_CASE("the harness finds readers that are made before they can read") {
  CHECK(violations_with(bug::no_rights, "bind-reader") > 0);
}

TEST_CASE("the harness finds an unbind that is done before its role is refused") {
  CHECK(violations_with(bug::early_unbind, "unbind") > 0);
  CHECK(violations_with(bug::early_unbind, "rotate") > 0);
}

TEST_CASE("the harness finds roles that are removed before their login is refused") {
  CHECK(violations_with(bug::no_revocation, "unbind") > 0);
  CHECK(violations_with(bug::no_revocation, "bind-unbind") > 0);
}

TEST_CASE("the harness finds replicas that let the revoked in and are not held back") {
  CHECK(violations_with(bug::all_caught_up, "unbind-unheard") > 0);
}

TEST_CASE("the harness finds connections to addresses from members' keys") {
  CHECK(violations_with(bug::members_believed, "rotate-lied-to") > 0);
}

TEST_CASE("the harness finds a broker that drops unknown members") {
  CHECK(violations_with(bug::forgets_unknown, "grow") > 0);
  CHECK(violations_with(bug::forgets_unknown, "bind-reader") > 0);
}

TEST_CASE("the harness finds certificates for keys that a cell no longer has") {
  CHECK(violations_with(bug::any_request, "provision-uncertified") > 0);
}

TEST_CASE("the harness finds cells that obey late orders") {
  CHECK(violations_with(bug::no_fences, "delete-midway") > 0);
}

TEST_CASE("the harness finds a replica that counts as healthy and makes no progress") {
  CHECK(violations_with(bug::running_is_well, "repair-standing") > 0);
  CHECK(violations_with(bug::running_is_well, "shrink-standing") > 0);
  CHECK(violations_with(bug::running_is_well, "plan-standing") > 0);
  CHECK(violations_with(bug::running_is_well, "grow-standing") > 0);
}

TEST_CASE("the harness finds a switch without the position at which the leader stopped") {
  CHECK(violations_with(bug::any_position, "rebuild-behind") > 0);
}

TEST_CASE("the harness finds a switch to a cluster that lacks data") {
  CHECK(violations_with(bug::replay_believed, "rebuild-behind") > 0);
}

TEST_CASE("the harness finds failed settings that are not undone") {
  CHECK(violations_with(bug::not_taken_back, "plan-unstartable") > 0);
  CHECK(violations_with(bug::not_taken_back, "plan-unstartable-alone") > 0);
}

int main(int count, char** arguments) {
  all_of_it.threads = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  bool only_table = false;
  std::string only;
  for (int i = 1; i < count; ++i) {
    if (const auto* text = value_of(arguments[i], "--replay="))
      return replay(text);
    if (const auto* number = value_of(arguments[i], "--seeds="))
      all_of_it.seeds = static_cast<unsigned>(std::atoi(number));
    else if (const auto* number = value_of(arguments[i], "--every="))
      all_of_it.every = static_cast<std::size_t>(std::max(1, std::atoi(number)));
    else if (const auto* number = value_of(arguments[i], "--threads="))
      all_of_it.threads = std::atoi(number);
    else if (const auto* name = value_of(arguments[i], "--workflow="))
      only = name;
    else if (std::string_view{arguments[i]} == "--table")
      only_table = true;
  }
  if (only_table) {
    for (const auto& one : workflows())
      if (only.empty() || only == one.name) {
        tallies.push_back(exhaust(one, all_of_it));
        tell(tallies.back());
      }
    std::printf("%s", table_of(tallies).c_str());
    return std::ranges::all_of(tallies, [](const auto& one) { return one.violations.empty(); })
               ? EXIT_SUCCESS
               : EXIT_FAILURE;
  }
  doctest::Context context{count, arguments};
  auto ended = context.run();
  if (!tallies.empty())
    std::printf("%s", table_of(tallies).c_str());
  return ended;
}
