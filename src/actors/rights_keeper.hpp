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

/// Has what applications may do compared with what they shall be able to, as part of an instance's
/// actor: after each change of the bindings or of the leader, and every minute besides, since
/// applications make things, and take rights away. Nothing but a new reader waits for it.
class rights_keeper {
public:
  using bindings = std::map<std::string, model::binding>;

  rights_keeper(record_keeper& keeper, instance_host& host) : keeper_(keeper), host_(host) {}

  /// Called whenever something may have changed.
  void tend(const bindings& known);
  void forget();

  /// Whether the readers' rights were complete at some time since this binding is known: from then
  /// on its role may be made.
  [[nodiscard]] bool served(const model::binding& reader) const {
    return done_ && done_->readers.contains(reader.role.username);
  }
  /// Why the comparison could not be made when that was last tried; empty otherwise.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  /// What a new reader can't read yet, in words; empty if there is nothing.
  [[nodiscard]] std::string note() const;

private:
  /// What a comparison is of.
  struct subject {
    std::string term;                     ///< which leader, of which timeline
    model::rare_set<std::string> readers; ///< their roles' names
    model::rare_set<std::string> roles;   ///< of the bindings that were ready
    /// Whether what was done for this one is enough for the other: who has gone needs nothing, and
    /// names are never given again.
    [[nodiscard]] bool covers(const subject& other) const {
      return term == other.term && readers.empty() == other.readers.empty()
             && std::ranges::includes(readers, other.readers)
             && std::ranges::includes(roles, other.roles);
    }
  };

  [[nodiscard]] std::optional<subject> present(const bindings& known) const;
  /// How long after the last comparison the next one is due.
  [[nodiscard]] caf::timespan pause(const subject& wanted, const bindings& known) const;
  void ask(subject of);
  void note_answer(const subject& of, const rights_answer& said);

  record_keeper& keeper_;
  instance_host& host_;
  model::rare_value<subject> done_;  ///< the last one that was complete
  std::vector<std::string> skipped_; ///< objects that somebody was changing then
  bool asking_ = false;
  bool cut_short_ = false; ///< the last one went well, and has more to do
  std::string trouble_;
  patience patience_;
  caf::actor_clock::time_point tried_at_; ///< when the last one ended
};

} // namespace matriarch::actors
