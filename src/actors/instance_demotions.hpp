#pragma once

#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/record_keeper.hpp"
#include "model/instance_observations.hpp"
#include "model/requests.hpp"
#include "model/routes.hpp"

namespace matriarch::actors {

/// The demotions of one instance's leader that an operator asked for, as part of its actor. A
/// demotion ends only when routers lead clients to the new leader: the operator stops the old
/// leader's machine next.
class instance_demotions {
public:
  /// The references must outlive this object.
  instance_demotions(record_keeper& keeper, model::instance_observations& observations)
      : keeper_(keeper), observations_(observations) {}
  instance_demotions(const instance_demotions&) = delete;
  instance_demotions& operator=(const instance_demotions&) = delete;

  /// Has another node lead if the leader is on that cell.
  [[nodiscard]] caf::result<model::demote_report> demote(const model::demote_request& what);
  /// Answers the demotions that have ended.
  void answer();
  /// The instance is removed.
  void forget();
  /// Whether a demotion is under way.
  [[nodiscard]] bool pending() const { return !demotions_.empty(); }
  /// The route that demotions wait for.
  [[nodiscard]] model::route new_leader() const;

private:
  struct demotion {
    std::string from;
    caf::typed_response_promise<model::demote_report> owed;
  };

  [[nodiscard]] const std::string& name() const { return keeper_.name(); }
  [[nodiscard]] const model::record* record() const { return keeper_.record(); }

  record_keeper& keeper_;
  model::instance_observations& observations_;
  std::vector<demotion> demotions_;
};

} // namespace matriarch::actors
