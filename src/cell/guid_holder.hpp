#pragma once

#include <optional>
#include <string>

#include "base/ending.hpp"
#include "cell/cell_config.hpp"
#include "store/ownership.hpp"

/// Who has a cell's guid in etcd: one cell alone may.
namespace matriarch::cell {

/// A cell, as far as that tells it from others of its guid.
struct claimant {
  std::string guid;
  std::string uri;
  std::string machine;
  std::string identity; ///< of its data directory; empty if there is none yet
};

/// Of this machine, with that configuration.
[[nodiscard]] claimant claimant_of(const cell_config& config, const std::string& identity);

enum class holder {
  nobody, ///< or who does not say whose it is, as cells of earlier releases did not
  itself,
  /// Its data directory's at another address: before that was changed, or a copy of the directory, or
  /// what this one was copied from.
  twin,
  other,
};
[[nodiscard]] holder holder_of(const std::string& value, const claimant& self);

/// `at https://10.0.0.1:8901 on the machine a`, as the key's value says it.
[[nodiscard]] std::string whereabouts(const std::string& value);

/// That the guid is another's, whose key has that value, and what to do about it.
[[nodiscard]] std::string taken_words(const std::string& value, const claimant& self);

/// Who else has the guid, in words, to whom the key is left then. What a twin has is waited for, as
/// long as a lease lives: a cell that has ended gives it up by then, and one that runs does not.
/// Waits for no longer once `ended` has a cause. Not on the event loop's thread.
[[nodiscard]] std::optional<std::string> who_else_has(store::etcd_client& etcd,
                                                      const claimant& self, base::ending& ended);

/// The key of that cell, which it may keep alone.
[[nodiscard]] store::owned_key key_of(const claimant& self);

} // namespace matriarch::cell
