#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "simulated_broker.hpp"

namespace matriarch::simulation {

/// A task of the platform.
struct errand {
  model::request what;
  model::duration pause{0}; ///< before the task begins
  /// The next task begins as soon as this one is accepted.
  bool not_awaited = false;
  /// A provision that gets no answer is removed instead of repeated: orphan mitigation.
  bool mitigated = false;
  /// The request is accepted, and its operation must fail.
  bool fails = false;
  /// If another operation is in progress, the request is repeated until that has ended.
  bool patient = false;
};

/// A platform that behaves like Cloud Controller. It does its tasks one after the other, repeats
/// requests with the same ids if they are unanswered or answered with 503, polls last_operation,
/// and keeps polling afterwards. It complains about answers that no platform should get: refusals
/// of valid requests, failures, and answers that go back in time.
class platform {
public:
  platform(stage& here, std::vector<errand> errands)
      : here_(here), errands_(std::move(errands)), again_at_(here.outside.now()) {}

  /// Does what is due at this moment.
  void tend();
  [[nodiscard]] bool done() const { return current_ == errands_.size(); }
  /// What the platform is doing, in words.
  [[nodiscard]] std::string state() const;
  [[nodiscard]] const std::vector<std::string>& complaints() const { return complaints_; }
  /// The credentials that the platform was given, by binding id.
  [[nodiscard]] const std::map<std::string, model::credentials>& credentials() const {
    return credentials_;
  }

private:
  /// What the platform was told about an instance.
  struct history {
    std::vector<std::string> operations;         ///< ids, in the order of their first appearance
    std::optional<model::operation_state> ended; ///< result of the last operation
    bool promised = false;                       ///< the instance's provision was accepted
    bool gone = false;
  };
  /// A request under way, its broker, and its time.
  struct question {
    std::shared_ptr<const wire> asked;
    model::wall_time since;
    awaited_verdict answer;
  };

  [[nodiscard]] simulated_broker* proxy();
  [[nodiscard]] bool lost(const question& one) const;
  void begin();
  void judge(const model::verdict& said);
  void unanswered();
  [[nodiscard]] bool promised(const std::string& instance_id);
  void next_errand();
  void poll();
  void poll(const std::string& instance_id);
  void learn(const std::string& instance_id, const model::instance_snapshot& known);
  void learn_absence(const std::string& instance_id, const model::verdict& said);
  void keep_credentials(const model::binding& bound);
  void complain(const std::string& what);

  stage& here_;
  std::vector<errand> errands_;
  std::size_t current_ = 0;
  bool begun_ = false;   ///< the current task's pause is over
  bool polling_ = false; ///< the current task was accepted
  std::optional<question> request_;
  std::map<std::string, question> lookups_;
  model::wall_time again_at_;
  model::wall_time poll_at_{};
  std::shared_ptr<const wire> preferred_;
  std::map<std::string, history> histories_; ///< by instance id
  std::set<std::string> doomed_;             ///< instances whose removal was requested
  std::map<std::string, model::credentials> credentials_;
  std::vector<std::string> complaints_;
};

} // namespace matriarch::simulation
