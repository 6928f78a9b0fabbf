#include "http/answer_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "base/json.hpp"
#include "base/times.hpp"

namespace matriarch::http {

namespace {

/// An overload ends soon, or the operator has to act.
constexpr const char* retry_after_seconds = "5";

std::string_view reason_of(int status) {
  using named = std::pair<int, std::string_view>;
  constexpr std::array known{named{200, "OK"},
                             named{201, "Created"},
                             named{202, "Accepted"},
                             named{204, "No Content"},
                             named{304, "Not Modified"},
                             named{400, "Bad Request"},
                             named{401, "Unauthorized"},
                             named{403, "Forbidden"},
                             named{404, "Not Found"},
                             named{405, "Method Not Allowed"},
                             named{406, "Not Acceptable"},
                             named{408, "Request Timeout"},
                             named{409, "Conflict"},
                             named{410, "Gone"},
                             named{411, "Length Required"},
                             named{412, "Precondition Failed"},
                             named{413, "Content Too Large"},
                             named{414, "URI Too Long"},
                             named{415, "Unsupported Media Type"},
                             named{417, "Expectation Failed"},
                             named{422, "Unprocessable Content"},
                             named{429, "Too Many Requests"},
                             named{431, "Request Header Fields Too Large"},
                             named{500, "Internal Server Error"},
                             named{501, "Not Implemented"},
                             named{502, "Bad Gateway"},
                             named{503, "Service Unavailable"},
                             named{504, "Gateway Timeout"},
                             named{505, "HTTP Version Not Supported"}};
  for (auto& [number, reason] : known)
    if (number == status)
      return reason;
  // A client goes by the number; RFC 9112, section 4, allows any phrase.
  return "Status";
}

/// The Date header's value, made once a second on each thread.
std::string_view date_now() {
  thread_local std::time_t made_at = 0;
  thread_local std::string text;
  if (auto now = std::time(nullptr); now != made_at) {
    text = base::http_date(now);
    made_at = now;
  }
  return text;
}

/// True if a handler's header may be sent: it is not one of the server's own and cannot end a line.
bool is_sendable(const std::string& name, const std::string& value) {
  auto is = [&](std::string_view own) {
    return std::equal(name.begin(), name.end(), own.begin(), own.end(),
                      [](unsigned char a, unsigned char b) { return std::tolower(a) == b; });
  };
  return !name.empty() && !is("content-length") && !is("content-type") && !is("connection")
         && !is("transfer-encoding") && !is("date")
         && (name + value).find_first_of(std::string_view{"\r\n\0", 3}) == std::string::npos;
}

} // namespace

std::string text_of(const response& answer, bool without_body, bool keep_alive) {
  std::string text;
  text.reserve(256 + answer.body.size());
  auto out = std::back_inserter(text);
  fmt::format_to(out, "HTTP/1.1 {} {}\r\nDate: {}\r\nConnection: {}\r\n", answer.status,
                 reason_of(answer.status), date_now(), keep_alive ? "keep-alive" : "close");
  for (auto& [name, value] : answer.headers)
    if (is_sendable(name, value))
      fmt::format_to(out, "{}: {}\r\n", name, value);
  // RFC 9110, section 8.6: answers with these statuses have neither a body nor a Content-Length.
  if (answer.status == 204 || answer.status == 304)
    return text += "\r\n";
  if (!answer.body.empty() && is_sendable("type", answer.content_type))
    fmt::format_to(out, "Content-Type: {}\r\n", answer.content_type);
  fmt::format_to(out, "Content-Length: {}\r\n\r\n", answer.body.size());
  if (!without_body)
    text += answer.body;
  return text;
}

response error_answer(int status, std::string_view description) {
  json::document body;
  body.SetObject();
  json::add(body, "description", description, body);
  response answer;
  answer.status = status;
  answer.body = json::text_of(body);
  return answer;
}

response unavailable_answer(std::string_view description) {
  auto answer = error_answer(503, description);
  answer.headers.emplace_back("Retry-After", retry_after_seconds);
  return answer;
}

} // namespace matriarch::http
