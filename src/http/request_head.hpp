#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// The content of a valid head, about the request and its connection.
struct request_head {
  /// Everything but the body and the remote address.
  request content;
  std::size_t content_length = 0;
  /// True if the client wants to use the connection again.
  bool keep_alive = true;
  bool expects_continue = false;
};

/// Why a request is not served: the status and a sentence for its sender.
struct refusal {
  int status = 400;
  std::string description;
};

/// Checks and decodes the head of an HTTP/1 request: the bytes before the empty line, without the
/// line end of the last header. Strict where readers differ (RFC 9112, sections 2.2, 5 and 6), so
/// that a proxy in front and this server never disagree about where a request ends.
[[nodiscard]] std::variant<request_head, refusal> read_head(std::string_view head);

/// Replaces each %XX once. In a query, whose clients write form data, a plus is a space; in a path
/// it is a plus. Fails on an incomplete escape and on %00, which no identifier contains.
[[nodiscard]] result<std::string> percent_decoded(std::string_view text,
                                                  bool plus_is_space = false);

} // namespace matriarch::http
