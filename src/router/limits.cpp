#include "router/limits.hpp"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

#include "router/words.hpp"

namespace matriarch::router {

namespace {

constexpr int whole = 100; // percent

int percent_of(int most, int percent) {
  return static_cast<int>(std::int64_t{most} * percent / whole);
}

} // namespace

std::string port_limits::text() const {
  return fmt::format("{}:{}:{}:{}:{}:{}", passed.most, passed.nearly, passed.share, all.most,
                     all.nearly, all.share);
}

port_limits port_limits_of(std::string_view text) {
  port_limits limits;
  for (auto* number : {&limits.passed.most, &limits.passed.nearly, &limits.passed.share,
                       &limits.all.most, &limits.all.nearly, &limits.all.share}) {
    *number = number_of(text);
    auto colon = text.find(':');
    text = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  }
  return limits;
}

shared_limit shared_limit_of(int most, const limit_settings& settings) {
  // A connection of another address must always fit in above, however small the limit is.
  return {most, std::min(percent_of(most, settings.nearly_full), most - 1),
          std::max(1, percent_of(most, settings.per_source))};
}

port_limits limits_of(int max_connections, int nodes, const limit_settings& settings, int routers) {
  // A node that takes few connections reserves half of them at most.
  const auto usable = max_connections - std::min(settings.reserve, max_connections / 2);
  const auto passed = std::max(1, usable / std::max({1, settings.routers, routers}));
  const auto all = std::min<std::int64_t>(std::int64_t{2} * passed * std::max(1, nodes), 1'000'000);
  return {shared_limit_of(passed, settings),
          shared_limit_of(std::max(settings.per_port, static_cast<int>(all)), settings)};
}

} // namespace matriarch::router
