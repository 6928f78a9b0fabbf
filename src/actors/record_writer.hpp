#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/interfaces.hpp"
#include "actors/service_instance.hpp"

namespace matriarch::actors {

/// A transaction that changes an instance's keys.
struct etcd_write {
  std::vector<store::compare> compares;
  std::vector<store::operation> operations;
  /// Read if a compare fails.
  store::key_range witness;
  /// Whether `witness` shows that an earlier, unanswered try made this very change.
  std::function<bool(const std::vector<store::key_value>&)> made;
};

/// The result of a change.
struct write_result {
  enum class kind {
    done,
    refused,  ///< a compare failed; `active` and `record` show the present state
    not_done, ///< etcd could not be reached, or has no space
  };
  kind is = kind::not_done;
  store::revision at = 0;
  std::string why = {}; ///< for the requester
  bool active = true;   ///< if refused: whether this broker still is the active one
  std::vector<store::key_value> record = {}; ///< if refused: the record's key, if it exists
  [[nodiscard]] bool done() const { return is == kind::done; }
};

/// Makes the changes of one instance, one at a time, for its actor. All effects of a change require
/// that this broker is the active one, so each change compares that, too. An unanswered transaction
/// is repeated unchanged until its result is known: its compares make sure that it happens only
/// once, and its write_id shows that it has happened.
class record_writer {
public:
  using after = std::function<void(const write_result&)>;

  /// Writes for the instance of that name. Setup and name must outlive this object.
  record_writer(service_instance_actor::pointer self, const instance_setup& setup,
                const std::string& name)
      : self_(self), setup_(setup), name_(name) {}

  /// Calls `then` once, later. No other change may be under way.
  void commit(etcd_write what, after then);
  /// Repeats the change under way, at the actor's again_atom.
  void try_again();

private:
  struct attempt {
    etcd_write what;
    after then;
    bool open = false; ///< an earlier try was not answered
  };

  void keep_unknown_of_ports(std::vector<store::operation>& operations) const;
  void send();
  /// Finds out whether etcd has made a change that etcd cannot make any more.
  void look(const std::string& why);
  void wait();
  void end(const write_result& came);
  [[nodiscard]] write_result judge_refusal(const etcd_write& what,
                                           const store::commit_result& came) const;

  service_instance_actor::pointer self_;
  const instance_setup& setup_;
  const std::string& name_; ///< of the instance
  std::unique_ptr<attempt> under_way_;
};

} // namespace matriarch::actors
