// The head of a request: the bytes before the empty line.
#include <algorithm>
#include <set>

#include "base/percent_encoding.hpp"
#include "fuzz/fuzz.hpp"
#include "http/originating_identity.hpp"
#include "http/request_head.hpp"

using namespace matriarch;
using fuzz::must;

namespace {

// What the server answers heads with.
const std::set<int> refusals = {400, 411, 414, 417, 431, 501, 505};

bool is_clean(std::string_view text) {
  return text.find_first_of(std::string_view{"\r\n\0", 3}) == std::string_view::npos;
}

/// The same request, written by a client that encodes all it can.
std::string written_again(const http::request& got, std::string_view method) {
  std::string head{method};
  head += ' ';
  for (const auto& segment : got.segments)
    head += "/" + base::percent_encoded(segment);
  if (got.segments.empty())
    head += '/';
  auto separator = '?';
  for (const auto& [name, value] : got.query) {
    head += separator + base::percent_encoded(name) + "=" + base::percent_encoded(value);
    separator = '&';
  }
  head += " HTTP/1.1";
  for (const auto& [name, value] : got.headers)
    head += "\r\n" + name + ": " + value;
  return head;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text{reinterpret_cast<const char*>(data), size};
  auto read = http::read_head(text);
  if (auto* refused = std::get_if<http::refusal>(&read)) {
    must(refusals.contains(refused->status), "a refusal has one of the known statuses");
    fuzz::must_be_an_error(refused->description);
    return 0;
  }
  const auto& head = std::get<http::request_head>(read);
  const auto& got = head.content;
  must(got.path.starts_with("/") || got.path == "*" || got.segments.empty(), "a path is absolute",
       got.path);
  must(is_clean(got.path), "a path has no line ends", got.path);
  for (const auto& segment : got.segments)
    must(segment.find('\0') == std::string::npos, "a segment has no NUL", segment);
  int lengths = 0;
  for (const auto& [name, value] : got.headers) {
    must(!name.empty() && is_clean(name), "a header has a name", name);
    must(std::ranges::none_of(name, [](char c) { return c >= 'A' && c <= 'Z'; }),
         "names are in lower case", name);
    must(is_clean(value), "a value has no line ends", value);
    must(name != "transfer-encoding", "nothing is chunked");
    lengths += name == "content-length" ? 1 : 0;
  }
  must(lengths <= 1, "there is one length");
  must(lengths == 1 || head.content_length == 0, "without a length there is no body");
  // A proxy that writes the request its own way does not change its meaning.
  if (text.substr(0, text.find("\r\n")).ends_with(" HTTP/1.1")
      && got.path.find('*') == std::string::npos) {
    auto again = http::read_head(written_again(got, text.substr(0, text.find(' '))));
    if (auto* second = std::get_if<http::request_head>(&again)) {
      must(second->content.segments == got.segments, "the segments stay", got.path);
      must(second->content.query == got.query, "the query stays", got.path);
      must(second->content.headers == got.headers, "the headers stay");
      must(second->content_length == head.content_length, "the length stays");
    } else {
      // Only its length can be wrong with it: an encoded byte takes three.
      must(std::get<http::refusal>(again).status == 414, "it can be read again",
           std::get<http::refusal>(again).description);
    }
  }
  if (auto who = http::read_originating_identity(got); !who)
    fuzz::must_be_an_error(who.error());
  return 0;
}
