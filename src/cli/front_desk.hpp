#pragma once

#include "actors/environment.hpp"
#include "actors/gateway.hpp"
#include "http/front_desk.hpp"

namespace matriarch::cli {

/// Answers the broker's routes, from what its actors have published or by asking them.
class front_desk : public http::front_desk {
public:
  /// All of these have to outlive it.
  front_desk(const actors::published& published, const actors::environment& outside,
             actors::gateway& edge)
      : published_(published), outside_(outside), edge_(edge) {}

  [[nodiscard]] model::snapshot_ptr find(const std::string& name) const override;
  [[nodiscard]] std::vector<model::snapshot_ptr> all() const override;
  [[nodiscard]] model::cell_table cells() const override;
  [[nodiscard]] model::router_table routers() const override;
  [[nodiscard]] std::shared_ptr<const std::vector<model::orphan>> orphans() const override;
  [[nodiscard]] http::broker_health health() const override;
  [[nodiscard]] std::string authority() const override;

  void ask(model::request what, std::chrono::milliseconds patience,
           receiver<model::verdict> answer) override;
  void demote(model::demote_request what, receiver<model::demote_report> answer) override;
  void forget(model::forget_request what, receiver<model::forget_report> answer) override;
  void remove_orphan(model::orphan_removal what, receiver<model::verdict> answer) override;
  void reencrypt_all(receiver<model::reencryption_report> answer) override;

private:
  const actors::published& published_;
  const actors::environment& outside_;
  actors::gateway& edge_;
};

} // namespace matriarch::cli
