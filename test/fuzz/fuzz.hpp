#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.hpp"
#include "base/utf8.hpp"

/// What the fuzz targets share. A target's LLVMFuzzerTestOneInput() gets a text from outside, hands
/// it to the code that reads such texts, and checks what holds of every outcome.
namespace fuzz {

/// Ends the program, and with that the fuzzer, which keeps the input: `what` should hold.
inline void must(bool holds, std::string_view what, std::string_view seen = {}) {
  if (holds)
    return;
  std::fprintf(stderr, "it does not hold that %.*s: \"%.*s\"\n", static_cast<int>(what.size()),
               what.data(), static_cast<int>(seen.size()), seen.data());
  std::abort();
}

/// The input: its first byte, `a` or one of the letters after it, says which of a target's codecs
/// reads the rest.
struct input {
  std::size_t which;
  std::string_view text;

  input(const std::uint8_t* data, std::size_t size, std::size_t codecs)
      : which(size == 0 ? 0 : static_cast<std::uint8_t>(data[0] - 'a') % codecs),
        text(reinterpret_cast<const char*>(data), size) {
    text.remove_prefix(size == 0 ? 0 : 1);
  }
};

/// An error is for people: it says something, on one line, and can be written into JSON.
inline void must_be_an_error(std::string_view text) {
  must(!text.empty(), "an error says something");
  must(text.find('\n') == std::string_view::npos, "an error is one line", text);
  must(matriarch::is_utf8(text), "an error is UTF-8", text);
}

/// A text that this program makes is JSON, and stays the same when it is read and written again.
inline void must_be_json(std::string_view text) {
  must(matriarch::is_utf8(text), "JSON is UTF-8", text);
  auto read = matriarch::json::parse(text, 200);
  must(read.ok(), "what is written can be read", text);
  must(matriarch::json::text_of(*read) == text, "what is read is written the same", text);
}

/// What `written` has of the members of `read`, it has with the same values: nothing was
/// understood as something else. Members that are left out, or that replace some of another type,
/// do not count.
inline void must_agree(const matriarch::json::value& read, const matriarch::json::value& written) {
  if (read.IsObject() && written.IsObject()) {
    for (const auto& member : written.GetObject())
      if (auto found = read.FindMember(member.name); found != read.MemberEnd())
        must_agree(found->value, member.value);
  } else if (read.IsArray() && written.IsArray() && read.Size() == written.Size()) {
    for (rapidjson::SizeType i = 0; i < read.Size(); ++i)
      must_agree(read[i], written[i]);
  } else if ((read.IsString() && written.IsString()) || (read.IsBool() && written.IsBool())
             || (read.IsInt64() && written.IsInt64())) {
    must(read == written, "a member is understood as it was written",
         matriarch::json::text_of(written));
  }
}

} // namespace fuzz
