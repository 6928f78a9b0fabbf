#include "store/etcd_check.hpp"

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.hpp"
#include "store/etcd.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"

namespace matriarch::store {

namespace {

using namespace std::chrono_literals;

// Longer than the client's own time-out, which covers all endpoints.
constexpr auto patience = 10s;
// etcd's answer to a known user that may not read a key.
constexpr std::string_view denial = "permission denied";

range_result ask(const config::etcd_settings& settings, key_range keys) {
  auto promised = std::make_shared<std::promise<range_result>>();
  auto answer = promised->get_future();
  base::event_loop loop;
  etcd_client etcd{loop, access_of(settings)};
  etcd.range(std::move(keys),
             [promised](range_result came) { promised->set_value(std::move(came)); });
  if (answer.wait_for(patience) == std::future_status::ready)
    return answer.get();
  range_result none;
  none.error = "it does not answer";
  return none;
}

} // namespace

bool look_at_etcd(const config::etcd_settings& settings, const std::string& fleet_key,
                  base::findings& found) {
  std::vector<std::string> silent;
  bool some_answer = false;
  for (const auto& machine : settings.machines) {
    auto one = settings;
    one.machines = {machine};
    auto fleet = ask(one, {fleet_key, {}});
    if (fleet.error.find(denial) != std::string::npos) {
      some_answer = true;
      found.doubt("etcd", machine + " answers but does not let this user read " + fleet_key
                              + "; this etcd may be another fleet's");
      continue;
    }
    if (!fleet.ok) {
      silent.push_back(machine + ": " + fleet.error);
      continue;
    }
    some_answer = true;
    found.good("etcd", machine + " answers; "
                           + (fleet.found.empty() ? "no broker has acted on it yet"
                                                  : "the fleet " + fleet.found.front().value));
  }
  for (const auto& one : silent) {
    if (some_answer)
      found.doubt("etcd", one);
    else
      found.fault("etcd", one);
  }
  return some_answer;
}

std::optional<std::string> look_up(const config::etcd_settings& settings, const std::string& key) {
  auto came = ask(settings, {key, {}});
  if (!came.ok || came.found.empty())
    return std::nullopt;
  return std::move(came.found.front().value);
}

} // namespace matriarch::store
