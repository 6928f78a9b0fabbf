#pragma once

#include <optional>
#include <string>

#include "base/ending.hpp"
#include "cell/cell_config.hpp"
#include "store/ownership.hpp"

/// Which cell holds a guid in etcd: only one may.
namespace matriarch::cell {

/// What distinguishes a cell from others with its guid.
struct claimant {
  std::string guid;
  std::string uri;
  std::string machine;
  std::string identity; ///< of its data directory; empty if there is none yet
};

/// The cell of this machine with that configuration.
[[nodiscard]] claimant claimant_of(const cell_config& config, const std::string& identity);

enum class holder {
  nobody, ///< or a cell that does not identify itself, as those of earlier releases
  itself,
  /// A cell with the same data directory at another address: this cell before its address was
  /// changed, or a copy of the directory, or the directory that this one was copied from.
  twin,
  other,
};
[[nodiscard]] holder holder_of(const std::string& value, const claimant& self);

/// `at https://10.0.0.1:8901 on the machine a`, from the key's value.
[[nodiscard]] std::string whereabouts(const std::string& value);

/// Says that another cell has the guid, whose key has that value, and what to do about it.
[[nodiscard]] std::string taken_words(const std::string& value, const claimant& self);

/// The other cell that holds the guid, in words; the key is left to it. If a twin holds it, waits
/// as long as a lease lives: a twin that has ended loses the key by then, one that runs does not.
/// Stops waiting once `ended` has a cause. Not on the event loop's thread.
[[nodiscard]] std::optional<std::string> who_else_has(store::etcd_client& etcd,
                                                      const claimant& self, base::ending& ended);

/// The cell's key, which only one cell may hold.
[[nodiscard]] store::owned_key key_of(const claimant& self);

} // namespace matriarch::cell
