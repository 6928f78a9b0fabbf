#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "base/result.hpp"
#include "store/etcd.hpp"

/// A key that only one program may keep, such as a router's or a cell's.
namespace matriarch::store {

/// The identity of a data directory, shared by the programs that use it one after the other. It is
/// made once and kept in the file `identity`, so that a restarted program is recognised. The
/// failure names the file.
[[nodiscard]] result<std::string> identity_in(const std::string& data_dir);

/// The identity, if there is one; writes nothing. The failure tells why the file cannot be read.
[[nodiscard]] result<std::optional<std::string>> known_identity_in(const std::string& data_dir);

/// A key that a program keeps only while nobody else has it.
struct owned_key {
  std::string key;
  /// Given the key's value: the other owner in words. Nothing if the owner is this program, or the
  /// value names none, as in earlier releases.
  std::function<std::optional<std::string>(const std::string& value)> other_owner;
};

/// The key's value; also nothing if etcd cannot be reached. Blocks: do not call on the event loop's
/// thread.
[[nodiscard]] std::optional<std::string> value_now(etcd_client& etcd, const std::string& key);

/// The key's other owner in words; also nothing if etcd cannot be reached. Blocks: do not call on
/// the event loop's thread.
[[nodiscard]] std::optional<std::string> other_owner(etcd_client& etcd, const owned_key& what);

/// Records that somebody else has this program's key, and raises a signal that ends the program.
/// This is found out only later if etcd was unreachable at the start. Any thread may call.
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
