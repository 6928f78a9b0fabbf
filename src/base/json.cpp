#include "base/json.hpp"

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

#include "base/utf8.hpp"

namespace matriarch::json {

namespace {

/// The largest double has 309 digits, and 17 digits identify a double.
constexpr std::size_t longest_number = 400;

/// Passes events to the document, and stops at nesting that is too deep, at a repeated key, and at
/// a number that is out of range. Numbers come as texts and are parsed here: RapidJSON's exact
/// parsing reads beyond its tables, and ends the process, on 0.000…1 with some hundred zeros.
class depth_guard {
public:
  using Ch = char;
  depth_guard(document& into, std::size_t deepest) : into_(into), deepest_(deepest) {}

  bool Null() { return into_.Null(); }
  bool Bool(bool b) { return into_.Bool(b); }
  bool Int(int i) { return into_.Int(i); }
  bool Uint(unsigned i) { return into_.Uint(i); }
  bool Int64(std::int64_t i) { return into_.Int64(i); }
  bool Uint64(std::uint64_t i) { return into_.Uint64(i); }
  bool Double(double d) { return into_.Double(d); }
  bool RawNumber(const char* s, rapidjson::SizeType n, bool) {
    auto whole = [&](auto& into) {
      auto [end, error] = std::from_chars(s, s + n, into);
      return error == std::errc{} && end == s + n;
    };
    std::int64_t narrow = 0;
    std::uint64_t wide = 0;
    double real = 0;
    if (n <= longest_number) {
      if (whole(narrow))
        return into_.Int64(narrow);
      if (whole(wide))
        return into_.Uint64(wide);
      if (whole(real))
        return into_.Double(real);
    }
    bad_number_ = true;
    return false;
  }
  bool String(const char* s, rapidjson::SizeType n, bool copy) {
    return is_text({s, n}) && into_.String(s, n, copy);
  }
  bool StartObject() { return enter() && (keys_.emplace_back(), into_.StartObject()); }
  bool Key(const char* s, rapidjson::SizeType n, bool copy) {
    if (!is_text({s, n}))
      return false;
    if (!keys_.back().emplace(s, n).second) {
      repeated_ = std::string(s, n);
      return false;
    }
    return into_.Key(s, n, copy);
  }
  bool EndObject(rapidjson::SizeType n) {
    --depth_;
    keys_.pop_back();
    return into_.EndObject(n);
  }
  bool StartArray() { return enter() && into_.StartArray(); }
  bool EndArray(rapidjson::SizeType n) {
    --depth_;
    return into_.EndArray(n);
  }

  [[nodiscard]] const std::string& repeated() const { return repeated_; }
  [[nodiscard]] bool has_half_character() const { return half_character_; }
  [[nodiscard]] bool too_deep() const { return depth_ > deepest_; }
  [[nodiscard]] bool bad_number() const { return bad_number_; }

private:
  bool enter() { return ++depth_ <= deepest_; }
  /// RapidJSON checks the bytes but accepts the escape of half a surrogate pair (`\udc00` alone).
  /// Its result is no UTF-8, so that a text written with it could not be parsed again.
  bool is_text(std::string_view text) {
    half_character_ = !is_utf8(text);
    return !half_character_;
  }

  document& into_;
  std::size_t deepest_;
  std::size_t depth_ = 0;
  std::vector<std::set<std::string>> keys_;
  std::string repeated_;
  bool half_character_ = false;
  bool bad_number_ = false;
};

template <class Writer>
void write_sorted(const value& what, Writer& out) {
  if (what.IsObject()) {
    std::vector<const value::Member*> members;
    for (const auto& m : what.GetObject())
      members.push_back(&m);
    std::sort(members.begin(), members.end(), [](auto* a, auto* b) {
      return std::string_view{a->name.GetString(), a->name.GetStringLength()}
             < std::string_view{b->name.GetString(), b->name.GetStringLength()};
    });
    out.StartObject();
    for (auto* m : members) {
      out.Key(m->name.GetString(), m->name.GetStringLength());
      write_sorted(m->value, out);
    }
    out.EndObject();
  } else if (what.IsArray()) {
    out.StartArray();
    for (const auto& v : what.GetArray())
      write_sorted(v, out);
    out.EndArray();
  } else {
    what.Accept(out);
  }
}

rapidjson::Value::StringRefType name_ref(std::string_view name) {
  return {name.data(), static_cast<rapidjson::SizeType>(name.size())};
}

} // namespace

result<document> parse(std::string_view text, std::size_t deepest) {
  document parsed;
  std::string why;
  auto feed = [&](document& into) {
    depth_guard guard{into, deepest};
    rapidjson::Reader reader;
    rapidjson::MemoryStream stream{text.data(), text.size()};
    rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> in{stream};
    constexpr unsigned flags = rapidjson::kParseIterativeFlag
                               | rapidjson::kParseValidateEncodingFlag
                               | rapidjson::kParseNumbersAsStringsFlag;
    auto status = reader.Parse<flags>(in, guard);
    if (!status.IsError())
      return true;
    if (!guard.repeated().empty())
      why = "the key " + matriarch::quoted(guard.repeated()) + " appears twice in one object";
    else if (guard.has_half_character())
      why = "a string has half a surrogate pair, which is no character";
    else if (guard.bad_number())
      why = "a number is too large, too small or too long";
    else if (guard.too_deep())
      why = "nested more than " + std::to_string(deepest) + " levels deep";
    else
      why = std::string{rapidjson::GetParseError_En(status.Code())};
    why += " (at byte " + std::to_string(status.Offset()) + ")";
    return false;
  };
  parsed.Populate(feed);
  if (!why.empty())
    return failure{why};
  return parsed;
}

std::string text_of(const value& what) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer{buffer};
  what.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string canonical_text_of(const value& what) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer{buffer};
  write_sorted(what, writer);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string
object_text(std::initializer_list<std::pair<std::string_view, std::string_view>> members) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer{buffer};
  writer.StartObject();
  for (const auto& [name, text] : members) {
    writer.Key(name.data(), static_cast<rapidjson::SizeType>(name.size()));
    writer.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
  }
  writer.EndObject();
  return {buffer.GetString(), buffer.GetSize()};
}

const value* member(const value& object, std::string_view name) {
  if (!object.IsObject())
    return nullptr;
  auto found = object.FindMember(value{name_ref(name)});
  return found == object.MemberEnd() ? nullptr : &found->value;
}

std::string string_member(const value& object, std::string_view name, std::string_view otherwise) {
  auto* found = member(object, name);
  if (found == nullptr || !found->IsString())
    return std::string{otherwise};
  return {found->GetString(), found->GetStringLength()};
}

std::int64_t integer_member(const value& object, std::string_view name, std::int64_t otherwise) {
  auto* found = member(object, name);
  return found == nullptr || !found->IsInt64() ? otherwise : found->GetInt64();
}

value string(std::string_view text, document& owner) {
  // Invalid UTF-8 would make the whole text unreadable.
  if (!is_utf8(text))
    return string(legible(text, 4 * text.size()), owner);
  return value{text.data(), static_cast<rapidjson::SizeType>(text.size()), owner.GetAllocator()};
}

void add(value& object, std::string_view name, value inner, document& owner) {
  object.AddMember(string(name, owner), inner, owner.GetAllocator());
}

void add(value& object, std::string_view name, std::string_view text, document& owner) {
  add(object, name, string(text, owner), owner);
}

void add(value& object, std::string_view name, const char* text, document& owner) {
  add(object, name, std::string_view{text}, owner);
}

void add(value& object, std::string_view name, std::int64_t number, document& owner) {
  add(object, name, value{number}, owner);
}

void add(value& object, std::string_view name, int number, document& owner) {
  add(object, name, value{number}, owner);
}

void add(value& object, std::string_view name, bool flag, document& owner) {
  add(object, name, value{flag}, owner);
}

} // namespace matriarch::json
