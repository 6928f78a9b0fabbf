#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engines/postgresql/model/decisions.hpp"

/// The engines that plans may name, for the configuration's tests.
namespace matriarch::config {

/// An engine that can only run a node, and accepts any parameter.
class humble_engine final : public model::engine {
public:
  [[nodiscard]] std::string_view name() const override { return "humble"; }
  [[nodiscard]] std::string_view title() const override { return "Humble"; }
  [[nodiscard]] model::capabilities can() const override { return {}; }
  [[nodiscard]] model::checked_parameters
  check(const model::given_parameters& given) const override {
    return {{given.begin(), given.end()}, {}};
  }
  [[nodiscard]] std::map<std::string, std::string>
  completed(std::map<std::string, std::string> parameters) const override {
    return parameters;
  }
  [[nodiscard]] const std::map<std::string, std::string>& defaults() const override {
    static const std::map<std::string, std::string> none;
    return none;
  }
  [[nodiscard]] std::string configuration(const model::cluster_settings&) const override {
    return {};
  }
  [[nodiscard]] std::string settings_change(const model::cluster_settings&,
                                            const model::cluster_settings&) const override {
    return {};
  }
  [[nodiscard]] model::cluster_settings
  step_towards(const model::cluster_settings& to, const model::cluster_settings&) const override {
    return to;
  }
  [[nodiscard]] model::cluster_settings
  mixture(const model::cluster_settings&, const model::cluster_settings& newer) const override {
    return newer;
  }
  [[nodiscard]] std::string following(const std::string&) const override { return {}; }
  [[nodiscard]] std::string retaining(bool) const override { return {}; }
  [[nodiscard]] model::restart_order order(const model::cluster_settings&,
                                           const model::cluster_settings&) const override {
    return model::restart_order::leader_first;
  }
  [[nodiscard]] std::vector<model::secret_need> secrets() const override { return {}; }
  [[nodiscard]] json::value credentials_of(const model::way_in&, json::document&) const override {
    return json::value{rapidjson::kObjectType};
  }
  [[nodiscard]] model::start_parameters start(const model::cluster&, const model::cluster_settings&,
                                              const std::string&) const override {
    return {};
  }
  [[nodiscard]] result<model::member> member_in(std::string_view) const override {
    return failure{"no member"};
  }
  [[nodiscard]] std::set<std::string> standbys_in(std::string_view) const override { return {}; }
  [[nodiscard]] model::member_urls urls(const model::node_addresses&, const std::string&, bool,
                                        bool) const override {
    return {};
  }
  [[nodiscard]] std::string_view connections_parameter() const override { return "clients"; }
  [[nodiscard]] std::int64_t most_connections() const override { return 1'000; }
};

inline const humble_engine humble{};
inline const model::engine_list known_engines{{&engines::postgresql::decisions()}};
inline const model::engine_list two_engines{{&engines::postgresql::decisions(), &humble}};

} // namespace matriarch::config
