// The sweep that re-encrypts all secrets, and an instance's part in it.
#include "actors/reencryption.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "requests.hpp"

using namespace matriarch;
using namespace matriarch::simulation;
using namespace std::chrono_literals;
using actors::reencrypt_all;
using model::verdict_kind;

namespace {

using answer_to = std::function<void(model::verdict)>;

/// A sweep, its questions and its report.
struct sweep_of {
  std::vector<std::string> asked;
  std::vector<answer_to> open;
  std::vector<model::reencryption_report> said;

  /// Begins a sweep over so many instances, which the test answers.
  void begin(int instances) {
    std::vector<std::string> ids;
    for (int i = 0; i < instances; ++i)
      ids.push_back("i" + std::to_string(i));
    reencrypt_all(
        std::move(ids), {},
        [this](const model::request& what, auto, answer_to answer) {
          asked.push_back(std::get<model::reencrypt_request>(what).instance_id);
          open.push_back(std::move(answer));
        },
        [this](model::reencryption_report report) { said.push_back(std::move(report)); });
  }

  void answer_one(const model::verdict& with) {
    auto one = std::move(open.front());
    open.erase(open.begin());
    one(with);
  }
};

/// The report of a sweep whose questions are answered from within the call.
std::optional<model::reencryption_report>
report_of(std::vector<std::string> ids, const std::function<model::verdict(std::string)>& says,
          const std::vector<std::string>& unreadable = {}) {
  std::optional<model::reencryption_report> said;
  reencrypt_all(
      std::move(ids), unreadable,
      [&](const model::request& what, auto, const answer_to& answer) {
        answer(says(std::get<model::reencrypt_request>(what).instance_id));
      },
      [&](model::reencryption_report report) { said = std::move(report); });
  return said;
}

} // namespace

TEST_CASE("a sweep asks every instance once, however many answer at once") {
  std::vector<std::string> ids;
  for (int i = 0; i < 3000; ++i)
    ids.push_back("i" + std::to_string(i));
  std::vector<std::string> asked;
  auto said = report_of(ids, [&](std::string id) {
    asked.push_back(std::move(id));
    return model::verdict{verdict_kind::done};
  });
  REQUIRE(said);
  CHECK(said->instances == 3000);
  CHECK(said->failed.empty());
  std::ranges::sort(asked);
  std::ranges::sort(ids);
  CHECK(asked == ids);
}

TEST_CASE("a sweep over nothing ends at once") {
  auto said = report_of({}, [](const std::string&) { return model::verdict{}; });
  REQUIRE(said);
  CHECK(said->instances == 0);
  CHECK(said->failed.empty());
}

TEST_CASE("a sweep has a few instances under way at most, and waits for all of them") {
  sweep_of here;
  here.begin(40);
  CHECK(here.open.size() == 16);
  for (int answered = 1; answered < 40; ++answered) {
    here.answer_one({verdict_kind::done});
    CHECK(here.open.size() == static_cast<std::size_t>(std::min(16, 40 - answered)));
    CHECK(here.said.empty());
  }
  here.answer_one({verdict_kind::done});
  CHECK(here.asked.size() == 40);
  REQUIRE(here.said.size() == 1);
  CHECK(here.said[0].instances == 40);
}

TEST_CASE("answers from several threads are all counted, and the end is reported once") {
  sweep_of here;
  here.begin(16);
  std::vector<std::thread> threads;
  for (auto& one : std::exchange(here.open, {}))
    threads.emplace_back([answer = std::move(one)] { answer({verdict_kind::done}); });
  for (auto& one : threads)
    one.join();
  REQUIRE(here.said.size() == 1);
  CHECK(here.said[0].instances == 16);
}

TEST_CASE("a sweep lists what failed and why, and leaves out removed instances") {
  auto said = report_of({"good", "bad", "gone", "unknown"}, [](const std::string& id) {
    if (id == "good")
      return model::verdict{verdict_kind::done};
    if (id == "bad")
      return model::verdict{verdict_kind::unavailable, "etcd"};
    return model::verdict{id == "gone" ? verdict_kind::gone : verdict_kind::not_found, "no more"};
  });
  REQUIRE(said);
  CHECK(said->instances == 1);
  REQUIRE(said->failed.size() == 1);
  CHECK(said->failed[0].instance_id == "bad");
  CHECK(said->failed[0].why == "etcd");
}

TEST_CASE("a sweep lists unreadable records, since they keep their key") {
  auto said =
      report_of({"good"}, [](const std::string&) { return model::verdict{verdict_kind::done}; },
                {"of-a-later-release"});
  REQUIRE(said);
  CHECK(said->instances == 1);
  REQUIRE(said->failed.size() == 1);
  CHECK(said->failed[0].instance_id == "of-a-later-release");
  CHECK(said->failed[0].why.find("cannot be read") != std::string::npos);
}

TEST_CASE("the broker's sweep reaches all instances") {
  stage here;
  for (const auto* id : {"db", "other"})
    REQUIRE(make(here, id));
  auto came = here.broker().reencrypt_all();
  REQUIRE(here.pass_until([&] { return came->has_value(); }, 1min));
  CHECK((*came)->instances == 2);
  CHECK((*came)->failed.empty());
  here.outside.etcd.put(store::keys::record("other"), "{");
  here.restart();
  here.pass(2s);
  came = here.broker().reencrypt_all();
  REQUIRE(here.pass_until([&] { return came->has_value(); }, 1min));
  CHECK((*came)->instances == 1);
  REQUIRE((*came)->failed.size() == 1);
  CHECK((*came)->failed[0].instance_id == "other");
}

TEST_CASE("a stopping broker's sweep ends after the questions under way, and lists the rest") {
  stage here;
  for (int i = 0; i < 20; ++i)
    REQUIRE(make(here, "db" + std::to_string(i), 1));
  auto came = here.broker().reencrypt_all();
  here.broker().stop_waiting();
  REQUIRE(here.pass_until([&] { return came->has_value(); }, 1min));
  CHECK((*came)->instances == 16);
  CHECK((*came)->failed.size() == 4);
  for (const auto& one : (*came)->failed)
    CHECK(one.why == "the broker stops");
}

TEST_CASE("a sweep that outlives the gateway asks no more questions") {
  stage here;
  for (int i = 0; i < 20; ++i)
    REQUIRE(make(here, "db" + std::to_string(i), 1));
  // Stops the broker after more and more messages, until the sweep is over before that: in some
  // runs answers are in flight.
  int left = 0;
  for (int after = 1; left <= 0; after += 7) {
    CAPTURE(after);
    here.restart();
    here.pass(2s);
    auto came = here.broker().reencrypt_all();
    left = after;
    here.broker().after_each_message([&] {
      if (--left == 0) {
        here.broker().stop_waiting();
        here.broker().end_gateway();
      }
    });
    here.run();
    if (left > 0)
      REQUIRE(came->has_value());
    if (came->has_value())
      CHECK((*came)->instances + (*came)->failed.size() == 20);
  }
}
