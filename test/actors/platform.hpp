#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "simulated_broker.hpp"

namespace matriarch::simulation {

/// Something that a user has the platform do.
struct errand {
  model::request what;
  model::duration pause{0}; ///< before it is begun
  /// The next errand begins as soon as this one is accepted.
  bool not_awaited = false;
  /// A provision that is not answered is not repeated but removed: orphan mitigation.
  bool mitigated = false;
  /// It is accepted, and cannot be done.
  bool fails = false;
  /// Where something else is in progress, it is asked for again until that has ended.
  bool patient = false;
};

/// A platform as Cloud Controller is one: it does its errands one after the other, repeats what is
/// not answered or answered with 503, with the same ids, polls last_operation, and goes on polling
/// afterwards. It complains of answers that no platform should get: refusals of what it may ask,
/// failures, and answers that go back in time.
class platform {
public:
  platform(stage& here, std::vector<errand> errands)
      : here_(here), errands_(std::move(errands)), again_at_(here.outside.now()) {}

  /// Does what is to be done at this moment.
  void tend();
  [[nodiscard]] bool done() const { return current_ == errands_.size(); }
  /// What it is doing, in words.
  [[nodiscard]] std::string state() const;
  [[nodiscard]] const std::vector<std::string>& complaints() const { return complaints_; }
  /// The credentials that it was given, by binding id.
  [[nodiscard]] const std::map<std::string, model::credentials>& credentials() const {
    return credentials_;
  }

private:
  /// What it was told of an instance.
  struct history {
    std::vector<std::string> operations; ///< their ids, in the order of their first appearance
    std::optional<model::operation_state> ended; ///< how the last of them ended
    bool promised = false;                       ///< its provision was accepted
    bool gone = false;
  };
  /// A question under way: to whom, and since when.
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
  bool begun_ = false;   ///< the current errand's pause is over
  bool polling_ = false; ///< it was accepted
  std::optional<question> request_;
  std::map<std::string, question> lookups_;
  model::wall_time again_at_;
  model::wall_time poll_at_{};
  std::shared_ptr<const wire> preferred_;
  std::map<std::string, history> histories_; ///< by instance id
  std::set<std::string> doomed_;             ///< instances whose removal was asked for
  std::map<std::string, model::credentials> credentials_;
  std::vector<std::string> complaints_;
};

} // namespace matriarch::simulation
