#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/service_instance.hpp"

namespace matriarch::actors {

/// A transaction that changes an instance's keys.
struct change {
  std::vector<store::compare> compares;
  std::vector<store::operation> operations;
  /// Read when a compare does not hold.
  store::key_range witness;
  /// Whether `witness` shows that this very change was made by an earlier, unanswered try.
  std::function<bool(const std::vector<store::key_value>&)> made;
};

/// What became of a change.
struct fate {
  enum class kind {
    done,
    refused,  ///< a compare did not hold; `active` and `record` say how things are
    not_done, ///< etcd could not be reached, or has no space
  };
  kind is = kind::not_done;
  store::revision at = 0;
  std::string why = {}; ///< for the one who asked
  bool active = true;   ///< of a refused one: whether this broker still is the active one
  std::vector<store::key_value> record = {}; ///< of a refused one: the record's key, if it exists
  [[nodiscard]] bool done() const { return is == kind::done; }
};

/// Makes the changes of one instance, one at a time, on behalf of its actor. Every effect that
/// follows a change rests on this broker being the active one, so each compares that too. A
/// transaction without an answer is tried again, the same, until its fate is known: its compares
/// see to it that it happens once, and its write_id tells that it has.
class record_writer {
public:
  using after = std::function<void(const fate&)>;

  /// Of the instance of that name. Setup and name outlive this.
  record_writer(service_instance_actor::pointer self, const instance_setup& setup,
                const std::string& name)
      : self_(self), setup_(setup), name_(name) {}

  /// Calls `then` once, later. No other change may be under way.
  void commit(change what, after then);
  /// The actor's again_atom has come: the change under way is tried once more.
  void try_again();

private:
  struct attempt {
    change what;
    after then;
    bool open = false; ///< an earlier try was not answered
  };

  void keep_unknown_of_ports(std::vector<store::operation>& operations) const;
  void send();
  /// Has etcd done it, or not? It will not do it any more.
  void look(const std::string& why);
  void wait();
  void end(const fate& came);
  [[nodiscard]] fate judge_refusal(const change& what, const store::commit_result& came) const;

  service_instance_actor::pointer self_;
  const instance_setup& setup_;
  const std::string& name_; ///< of the instance
  std::unique_ptr<attempt> under_way_;
};

} // namespace matriarch::actors
