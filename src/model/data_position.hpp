#pragma once

#include <cstdint>

/// How far the data of a node is.
namespace matriarch::model {

/// What the cell says of the data of a node that has stopped.
struct data_at_stop {
  /// The end of what was written, in bytes. Of a node that did not stop as a leader it is only a lower
  /// bound of what it has.
  std::int64_t position = 0;
  /// Which history the position belongs to: it grows by one with each leader that comes to lead.
  std::int64_t history = 0;
  bool led = false; ///< it stopped as a leader, and cleanly
  bool operator==(const data_at_stop&) const = default;
};

} // namespace matriarch::model
