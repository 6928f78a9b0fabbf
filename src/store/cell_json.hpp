#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// The values of a cell's keys in etcd.
namespace matriarch::store {

/// A cell's announcement, under the cell's lease. The broker trusts only the certificate request,
/// since the cell's etcd user alone may write it. A cell's URI and TLS come from the broker's
/// configuration.
struct cell_announcement {
  std::string guid;
  std::string availability_zone;
  std::string uri;
  std::int64_t capacity = 0;
  std::string host;                ///< the machine
  std::string owner; ///< the data directory's identity: only one cell may keep the key
  std::string certificate_request; ///< PEM; empty if the cell asks for no certificate
};

[[nodiscard]] std::string encode_cell_announcement(const cell_announcement& said);
/// Members that are missing or unreadable are empty: earlier releases write fewer.
[[nodiscard]] cell_announcement decode_cell_announcement(std::string_view text);

/// The active broker's answer to the announcement, in a key beside it.
struct cell_word {
  std::string certificate; ///< PEM, with the intermediate certificates up to the root
  /// The broker's configuration reaches this cell by plain HTTP.
  bool plain_http = false;
};

[[nodiscard]] std::string encode_cell_word(const cell_word& word);
/// Nothing if the text is no such answer, or contains no certificate.
[[nodiscard]] std::optional<cell_word> decode_cell_word(std::string_view text);

} // namespace matriarch::store
