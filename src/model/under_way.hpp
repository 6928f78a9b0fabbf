#pragma once

#include <optional>
#include <string>
#include <unordered_map>

namespace matriarch::model {

/// Counts the requests that wait for an answer, and refuses further ones above a limit: an
/// immediate refusal is better for the client than its own time-out. Not thread-safe.
class requests_under_way {
public:
  /// With more requests at once an actor's bookkeeping of open requests gets slow.
  static constexpr int most = 2'000;
  /// An instance's requests are served one after the other. A change takes about 10 ms, a binding
  /// 100 ms: a hundred are done before the first platform times out.
  static constexpr int most_of_one = 100;

  /// Why the request is refused; nothing if it may wait. Then call leave() once when it is
  /// answered.
  [[nodiscard]] std::optional<std::string> enter(const std::string& instance_id);
  void leave(const std::string& instance_id);

  [[nodiscard]] int all() const { return all_; }

private:
  int all_ = 0;
  std::unordered_map<std::string, int> of_;
};

} // namespace matriarch::model
