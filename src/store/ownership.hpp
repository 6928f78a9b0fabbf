#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "store/etcd.hpp"

/// A key that one program alone may keep, under its own name, such as a router's or a cell's.
namespace matriarch::store {

/// What tells the programs that use this data directory, one after the other, from all others: made
/// at first, and kept in its file `identity`. So a program that was killed and comes back is known
/// again. The failure names the file.
[[nodiscard]] result<std::string> identity_in(const std::string& data_dir);

/// The same, if it was made before: nothing is written. The failure says why nobody can tell.
[[nodiscard]] result<std::optional<std::string>> known_identity_in(const std::string& data_dir);

/// A key that is kept only while nobody else has it.
struct owned_key {
  std::string key;
  /// Of a value that is there: in words, who else has it; nothing if it is this program's, or nobody
  /// says whose it is, as earlier releases did not.
  std::function<std::optional<std::string>(const std::string& value)> other_owner;
};

/// What the key's value is; nothing too if there is none, or etcd cannot be asked. Waits for that, not
/// on the event loop's thread.
[[nodiscard]] std::optional<std::string> value_now(etcd_client& etcd, const std::string& key);

/// Who else has the key, in words; nothing too if etcd cannot be asked. Waits for that, not on the
/// event loop's thread.
[[nodiscard]] std::optional<std::string> other_owner(etcd_client& etcd, const owned_key& what);

/// That somebody else has this program's key, which is found out while it runs if etcd was away at
/// its start: whoever waits for that signal ends it. Any thread may call.
class taken_later {
public:
  explicit taken_later(int signal) : signal_(signal) {}
  void note(const std::string& who);
  [[nodiscard]] std::optional<std::string> who();

private:
  int signal_;
  std::mutex mutex_;
  std::optional<std::string> who_;
};

} // namespace matriarch::store
