#pragma once

#include <optional>
#include <string>
#include <unordered_map>

namespace matriarch::model {

/// Counts the requests that wait for an answer, and refuses those that would wait behind too many:
/// to be told so at once is better than to wait for one's own time-out. Not for several threads at
/// a time.
class requests_under_way {
public:
  /// Above this many at once an actor's bookkeeping of open requests itself gets slow.
  static constexpr int most = 2'000;
  /// Those of one instance are served one after the other. A change takes some 10 ms, a binding
  /// 100: a hundred are done before the first platform gives up.
  static constexpr int most_of_one = 100;

  /// Why a request has to be refused, in words; nothing if it may wait, which has to be followed by
  /// leave() once.
  [[nodiscard]] std::optional<std::string> enter(const std::string& instance_id);
  void leave(const std::string& instance_id);

  [[nodiscard]] int all() const { return all_; }

private:
  int all_ = 0;
  std::unordered_map<std::string, int> of_;
};

} // namespace matriarch::model
