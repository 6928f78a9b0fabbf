#include "http/request_head.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace matriarch::http {

namespace {

/// More headers than any client or proxy sends.
constexpr std::size_t most_headers = 100;
/// A longer target is no path of this API: RFC 9110 requires 8,000 bytes to be accepted.
constexpr std::size_t longest_target = 8'000;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// RFC 9110, section 5.6.2.
bool is_token(std::string_view text) {
  static constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_alphanumeric(c) || marks.find(c) != marks.npos;
  });
}

std::string lower(std::string_view text) {
  std::string result{text};
  for (char& c : result)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::string_view trimmed(std::string_view text) {
  auto first = text.find_first_not_of(" \t");
  if (first == text.npos)
    return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

int hex_value(char c) {
  if (is_digit(c))
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

method method_named(std::string_view name) {
  using named = std::pair<std::string_view, method>;
  constexpr std::array known{named{"GET", method::get},        named{"HEAD", method::head},
                             named{"POST", method::post},      named{"PUT", method::put},
                             named{"PATCH", method::patch},    named{"DELETE", method::del},
                             named{"OPTIONS", method::options}};
  for (auto& [text, verb] : known)
    if (text == name)
      return verb;
  return method::other;
}

/// `name`, `name:port`, `1.2.3.4:port`, `[::1]:port` or nothing (RFC 9112, section 3.2).
bool is_host(std::string_view text) {
  if (text.empty())
    return true;
  std::string_view port;
  auto colon = text.rfind(':');
  auto bracket = text.rfind(']');
  if (colon != text.npos && (bracket == text.npos || colon > bracket)) {
    port = text.substr(colon + 1);
    text = text.substr(0, colon);
  }
  bool literal = text.starts_with('[') && text.ends_with(']') && text.size() > 2;
  if (literal)
    text = text.substr(1, text.size() - 2);
  int number = 0;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  bool good_port = port.empty()
                   || (std::all_of(port.begin(), port.end(), is_digit) && error == std::errc{}
                       && number <= 65'535);
  return good_port && !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
           return is_alphanumeric(c)
                  || std::string_view{literal ? ":.%-_" : "-._~%!$&'()*+,;="}.find(c)
                         != std::string_view::npos;
         });
}

std::optional<std::size_t> length_in(std::string_view text) {
  std::size_t length = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size())
    return std::nullopt;
  return length;
}

/// True if a comma-separated list contains `wanted`, which is in lower case.
bool lists(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    auto comma = std::min(list.find(','), list.size());
    if (lower(trimmed(list.substr(0, comma))) == wanted)
      return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

std::optional<refusal> read_target(std::string_view target, request& into) {
  if (target.size() > longest_target)
    return refusal{414, "The request target is longer than 8000 bytes."};
  // Clients of a forward proxy send the whole URL; RFC 9112 (section 3.2.2) requires a server to
  // accept it.
  for (std::string_view scheme : {"http://", "https://"})
    if (lower(target.substr(0, scheme.size())) == scheme) {
      auto path = target.find_first_of("/?", scheme.size());
      target = path == target.npos ? "/" : target.substr(path);
      break;
    }
  if (target == "*" && into.verb == method::options) {
    into.path = target;
    return std::nullopt;
  }
  bool clean = std::all_of(target.begin(), target.end(),
                           [](char c) { return c > ' ' && c < '\x7f' && c != '#'; });
  if (!clean || !(target.starts_with('/') || target.starts_with('?')))
    return refusal{400, "The request target is not a path; send one that starts with a slash, "
                        "percent-encoded."};

  auto mark = std::min(target.find('?'), target.size());
  into.path = target.substr(0, mark);
  if (into.path.empty())
    into.path = "/";
  std::string_view path = into.path;
  path.remove_prefix(1);
  while (!path.empty() || into.path.size() > 1) {
    auto slash = path.find('/');
    auto segment = percent_decoded(path.substr(0, slash));
    if (!segment)
      return refusal{400, "The path: " + segment.error()};
    into.segments.push_back(std::move(segment).value());
    if (slash == path.npos)
      break;
    path.remove_prefix(slash + 1);
  }

  auto query = target.substr(std::min(mark + 1, target.size()));
  while (!query.empty()) {
    auto end = std::min(query.find('&'), query.size());
    auto pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    if (pair.empty())
      continue;
    auto equals = std::min(pair.find('='), pair.size());
    auto name = percent_decoded(pair.substr(0, equals), true);
    auto value = percent_decoded(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!name || !value)
      return refusal{400, "The query: " + (name ? value.error() : name.error())};
    into.query.emplace_back(std::move(name).value(), std::move(value).value());
  }
  return std::nullopt;
}

std::optional<refusal> read_header(std::string_view line, request& into) {
  auto colon = line.find(':');
  if (colon == line.npos || !is_token(line.substr(0, colon)))
    return refusal{400, "A header line is malformed; write \"Name: value\", without white space "
                        "before the colon and without folded lines."};
  auto value = trimmed(line.substr(colon + 1));
  bool clean = std::none_of(value.begin(), value.end(), [](char c) {
    return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == '\x7f';
  });
  if (!clean)
    return refusal{400, "The header " + std::string{line.substr(0, colon)}
                            + " contains control characters."};
  into.headers.emplace_back(lower(line.substr(0, colon)), value);
  if (into.headers.size() > most_headers)
    return refusal{431, "There are more than 100 headers."};
  return std::nullopt;
}

/// Reads the headers about the message itself; `minor` is HTTP/1's minor version.
std::optional<refusal> read_framing(request_head& into, char minor) {
  int hosts = 0;
  int lengths = 0;
  bool close = false;
  bool keep = false;
  for (auto& [name, value] : into.content.headers) {
    if (name == "transfer-encoding")
      return refusal{411, "Transfer-Encoding is not supported; send the body with a "
                          "Content-Length."};
    if (name == "host") {
      if (++hosts > 1 || !is_host(value))
        return refusal{400, "The Host header is malformed; send exactly one, as host:port."};
    } else if (name == "content-length") {
      auto length = length_in(value);
      if (++lengths > 1 || !length)
        return refusal{400, "The Content-Length header is malformed; send exactly one, a decimal "
                            "number of bytes."};
      into.content_length = *length;
    } else if (name == "connection") {
      close = close || lists(value, "close");
      keep = keep || lists(value, "keep-alive");
    } else if (name == "expect" && minor != '0') {
      if (lower(value) != "100-continue")
        return refusal{417, "The only expectation that is understood is 100-continue."};
      into.expects_continue = true;
    }
  }
  if (hosts == 0 && minor != '0')
    return refusal{400, "The Host header is missing; HTTP/1.1 demands one."};
  into.keep_alive = !close && (minor != '0' || keep);
  return std::nullopt;
}

} // namespace

result<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) {
      c = ' ';
    } else if (c == '%') {
      int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
      int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        return failure{"a percent sign is not followed by two hexadecimal digits; write %25 for a "
                       "percent sign."};
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0')
      return failure{"it contains a NUL byte."};
    decoded.push_back(c);
  }
  return decoded;
}

std::variant<request_head, refusal> read_head(std::string_view head) {
  request_head result;
  auto line_end = std::min(head.find("\r\n"), head.size());
  auto line = head.substr(0, line_end);
  head.remove_prefix(std::min(line_end + 2, head.size()));

  auto first = line.find(' ');
  auto last = line.rfind(' ');
  auto version = last == line.npos ? std::string_view{} : line.substr(last + 1);
  bool is_http = version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5])
                 && version[6] == '.' && is_digit(version[7]);
  if (first == last || !is_http || !is_token(line.substr(0, first)))
    return refusal{400, "The request line is malformed; write \"METHOD /path HTTP/1.1\"."};
  if (version[5] != '1')
    return refusal{505, "Only HTTP/1.1 and HTTP/1.0 are spoken here."};
  result.content.verb = method_named(line.substr(0, first));
  if (auto refused = read_target(line.substr(first + 1, last - first - 1), result.content))
    return *refused;

  while (!head.empty()) {
    auto end = std::min(head.find("\r\n"), head.size());
    if (auto refused = read_header(head.substr(0, end), result.content))
      return *refused;
    head.remove_prefix(std::min(end + 2, head.size()));
  }
  if (auto refused = read_framing(result, version[7]))
    return *refused;
  return result;
}

namespace {

using pairs = std::vector<std::pair<std::string, std::string>>;

const std::string* first_of(const pairs& all, std::string_view name) {
  for (auto& [key, value] : all)
    if (key == name)
      return &value;
  return nullptr;
}

} // namespace

const std::string* request::header(std::string_view name) const {
  return first_of(headers, name);
}

const std::string* request::query_value(std::string_view name) const {
  return first_of(query, name);
}

} // namespace matriarch::http
