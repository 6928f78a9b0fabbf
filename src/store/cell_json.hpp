#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The values of a cell's keys in etcd.
namespace matriarch::store {

/// What a cell says of itself, under its lease. Only the request is believed, by whom its user of etcd
/// permits to write it: where a cell is and how it is spoken with is the broker's configuration's to
/// say.
struct cell_announcement {
  std::string guid;
  std::string availability_zone;
  std::string uri;
  std::int64_t capacity = 0;
  std::string host;                ///< the machine
  std::string owner;               ///< of the data directory: one cell alone may keep the key
  std::string certificate_request; ///< PEM; empty if the cell asks for no certificate
};

[[nodiscard]] std::string encode_cell_announcement(const cell_announcement& said);
/// What is not there, or not to be read, is empty: earlier releases say less.
[[nodiscard]] cell_announcement decode_cell_announcement(std::string_view text);

/// What the active broker answers beside it.
struct cell_word {
  std::string certificate; ///< PEM, with what stands between it and the root
  /// The broker's configuration reaches this cell by plain HTTP.
  bool plain_http = false;
};

[[nodiscard]] std::string encode_cell_word(const cell_word& word);
/// Nothing if it is none, or says no certificate.
[[nodiscard]] std::optional<cell_word> decode_cell_word(std::string_view text);

} // namespace matriarch::store
