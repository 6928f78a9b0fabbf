#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "actors/engine.hpp"
#include "actors/messages.hpp"
#include "actors/patience.hpp"

namespace matriarch::actors {

class instance_host;
class record_keeper;

/// Has applications' rights compared with what they should be, as part of an instance's actor:
/// after each change of the bindings or of the leader, and every minute, because applications
/// create objects and take rights away. Only a new reader waits for the result.
class rights_keeper {
public:
  using bindings = std::map<std::string, model::binding>;

  rights_keeper(record_keeper& keeper, instance_host& host) : keeper_(keeper), host_(host) {}

  /// Called whenever something may have changed.
  void tend(const bindings& known);
  void forget();

  /// Whether the readers' rights have been complete once since this binding is known: from then on
  /// its role may be made.
  [[nodiscard]] bool served(const model::binding& reader) const {
    return done_ && done_->readers.contains(reader.role.username);
  }
  /// Why the last comparison failed; empty if it did not.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  /// What a new reader cannot read yet, in words; empty if nothing.
  [[nodiscard]] std::string note() const;

private:
  /// What a comparison covers.
  struct subject {
    std::string term;                     ///< the leader and its timeline
    model::rare_set<std::string> readers; ///< names of the readers' roles
    model::rare_set<std::string> roles;   ///< roles of the bindings that were ready
    /// Whether a comparison for this subject is enough for the other. Roles that are gone need
    /// nothing, and names are never used again.
    [[nodiscard]] bool covers(const subject& other) const {
      return term == other.term && readers.empty() == other.readers.empty()
             && std::ranges::includes(readers, other.readers)
             && std::ranges::includes(roles, other.roles);
    }
  };

  [[nodiscard]] std::optional<subject> present(const bindings& known) const;
  /// The pause before the next comparison.
  [[nodiscard]] caf::timespan pause(const subject& wanted, const bindings& known) const;
  void ask(subject of);
  void note_answer(const subject& of, const rights_answer& said);

  record_keeper& keeper_;
  instance_host& host_;
  model::rare_value<subject> done_;  ///< the last complete comparison
  std::vector<std::string> skipped_; ///< objects that an application was changing then
  bool asking_ = false;
  bool cut_short_ = false; ///< the last comparison succeeded but was not complete
  std::string trouble_;
  patience patience_;
  caf::actor_clock::time_point tried_at_; ///< end of the last comparison
};

} // namespace matriarch::actors
