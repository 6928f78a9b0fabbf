#include "engines/postgresql/model/decisions.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engines/postgresql/model/binding_credentials.hpp"
#include "engines/postgresql/model/limits.hpp"
#include "engines/postgresql/model/login_target.hpp"
#include "engines/postgresql/model/members.hpp"
#include "engines/postgresql/model/parameters.hpp"
#include "engines/postgresql/model/settings.hpp"
#include "model/addresses.hpp"

namespace matriarch::engines::postgresql {

namespace {

class patroni_clusters final : public model::engine {
public:
  [[nodiscard]] std::string_view name() const override { return "postgresql"; }
  [[nodiscard]] std::string_view title() const override { return "PostgreSQL"; }
  [[nodiscard]] model::capabilities can() const override {
    return {.replicas = true,
            .switch_over = true,
            .synchronous = true,
            .users_per_binding = true,
            .read_only = true,
            .follows = true,
            .archive = true};
  }

  [[nodiscard]] model::checked_parameters
  check(const model::given_parameters& given) const override {
    return check_parameters(given);
  }
  [[nodiscard]] std::map<std::string, std::string>
  completed(std::map<std::string, std::string> parameters) const override {
    model::shared_map<std::string, std::string> all{std::move(parameters)};
    make_room_for_replicas(all);
    all.insert(defaults());
    return all.entries();
  }
  [[nodiscard]] std::map<std::string, std::string>
  within(std::map<std::string, std::string> parameters,
         const model::node_limits& limits) const override {
    return parameters_within(std::move(parameters), limits);
  }
  [[nodiscard]] std::optional<model::parameter_fault>
  too_small(const model::node_limits& limits,
            const std::map<std::string, std::string>& parameters) const override {
    return why_not_within(parameters, limits);
  }
  [[nodiscard]] const std::map<std::string, std::string>& defaults() const override {
    return default_parameters();
  }

  [[nodiscard]] std::string configuration(const model::cluster_settings& wanted) const override {
    return dynamic_configuration(wanted);
  }
  [[nodiscard]] std::string settings_change(const model::cluster_settings& from,
                                            const model::cluster_settings& to) const override {
    return configuration_patch(from, to);
  }
  [[nodiscard]] model::cluster_settings
  step_towards(const model::cluster_settings& to,
               const model::cluster_settings& from) const override {
    return next_settings(from, to);
  }
  [[nodiscard]] model::cluster_settings
  mixture(const model::cluster_settings& older,
          const model::cluster_settings& newer) const override {
    return mixture_of(older, newer);
  }
  [[nodiscard]] std::string following(const std::string& place) const override {
    return change_to_follow(place);
  }
  [[nodiscard]] std::string retaining(bool keeps) const override { return change_to_retain(keeps); }
  [[nodiscard]] model::restart_order order(const model::cluster_settings& from,
                                           const model::cluster_settings& to) const override {
    return order_of(from, to);
  }

  [[nodiscard]] model::start_parameters start(const model::cluster& of,
                                              const model::cluster_settings& settings,
                                              const std::string& node_id) const override {
    namespace secret = model::secret_name;
    model::start_parameters all{{"PATRONI_SCOPE", of.scope}, {"NODE_ID", node_id}};
    auto add_login = [&](const std::string& prefix, std::string_view name) {
      auto login = of.secret_of(name);
      all.emplace_back(prefix + "_USERNAME", login.username);
      all.emplace_back(prefix + "_PASSWORD", login.password);
    };
    add_login("ADMIN", secret::admin);
    add_login("SUPERUSER", secret::superuser);
    add_login("APPUSER", secret::application);
    add_login("REPLICATION", secret::replication);
    add_login("PATRONI", secret::control);
    all.emplace_back("PATRONI_DYNAMIC_CONFIG",
                     with_whom_to_follow(dynamic_configuration(settings), of.follows));
    if (!settings.node_type.empty())
      all.emplace_back("NODE_TYPE", settings.node_type);
    if (settings.limits)
      for (auto& one : model::parameters_of(*settings.limits))
        all.push_back(std::move(one));
    if (!of.secret_of(secret::etcd).username.empty())
      add_login("ETCD", secret::etcd);
    return all;
  }

  [[nodiscard]] std::vector<model::secret_need> secrets() const override {
    namespace secret = model::secret_name;
    return {{secret::admin, "pgadmin"},
            {secret::superuser, "postgres"},
            {secret::application, "appuser"},
            {secret::replication, "replicator"},
            {secret::control, "patroni"}};
  }
  [[nodiscard]] json::value credentials_of(const model::way_in& how,
                                           json::document& owner) const override {
    return binding_credentials(how, owner);
  }

  [[nodiscard]] result<model::member> member_in(std::string_view text) const override {
    return postgresql::member_in(text);
  }
  [[nodiscard]] std::set<std::string> standbys_in(std::string_view text) const override {
    return postgresql::standbys_in(text);
  }
  [[nodiscard]] model::member_urls urls(const model::node_addresses& at, const std::string& node_id,
                                        bool ours, bool by_tls) const override {
    return {"postgres://" + at.database + "/" + maintenance_database,
            model::is_place(at.database) ? login_url(at, node_id, ours) : "",
            std::string{by_tls ? "https" : "http"} + "://" + at.control + "/patroni"};
  }

  [[nodiscard]] std::string_view connections_parameter() const override {
    return "max_connections";
  }
  [[nodiscard]] std::int64_t most_connections() const override { return greatest_backend_count; }
};

} // namespace

const model::engine& decisions() {
  static const patroni_clusters all;
  return all;
}

} // namespace matriarch::engines::postgresql
