#include "engines/postgresql/model/decisions.hpp"

#include "engines/postgresql/model/parameters.hpp"

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
            .archive = true};
  }

  [[nodiscard]] model::checked_parameters
  check(const model::given_parameters& given) const override {
    return check_parameters(given);
  }
  [[nodiscard]] std::map<std::string, std::string>
  completed(std::map<std::string, std::string> parameters) const override {
    model::shared_map<std::string, std::string> all{std::move(parameters)};
    model::make_room_for_replicas(all);
    all.insert(defaults());
    return all.entries();
  }
  [[nodiscard]] const std::map<std::string, std::string>& defaults() const override {
    return model::default_parameters();
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
