#include "store/etcd_json.hpp"

#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/base64.hpp"
#include "base/json.hpp"

namespace matriarch::store::etcd_json {

namespace {

// gRPC's status codes, as far as they are needed here.
constexpr int invalid_argument = 3;
constexpr int not_found = 5;
constexpr int already_exists = 6;
constexpr int permission_denied = 7;
constexpr int failed_precondition = 9;
constexpr int out_of_range = 11;
constexpr int unimplemented = 12;
constexpr int unauthenticated = 16;

/// Whether etcd says that the request is wrong. etcd checks that before it writes anything.
bool blames_request(int code) {
  constexpr std::array codes{invalid_argument,    not_found,    already_exists, permission_denied,
                             failed_precondition, out_of_range, unimplemented,  unauthenticated};
  return std::ranges::find(codes, code) != codes.end();
}

// -- writing ------------------------------------------------------------------

class body_writer {
public:
  body_writer() { out_.StartObject(); }

  body_writer& bytes(const char* name, std::string_view content) {
    out_.Key(name);
    auto text = base::to_base64(content);
    out_.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    return *this;
  }
  body_writer& number(const char* name, std::int64_t content) {
    out_.Key(name);
    auto text = std::to_string(content);
    out_.String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
    return *this;
  }
  body_writer& word(const char* name, const char* content) {
    out_.Key(name);
    out_.String(content);
    return *this;
  }
  body_writer& flag(const char* name) {
    out_.Key(name);
    out_.Bool(true);
    return *this;
  }
  body_writer& keys(const key_range& range) {
    bytes("key", range.first);
    if (!range.last.empty())
      bytes("range_end", range.last);
    return *this;
  }
  body_writer& object(const char* name) {
    out_.Key(name);
    return object();
  }
  body_writer& object() {
    out_.StartObject();
    return *this;
  }
  body_writer& list(const char* name) {
    out_.Key(name);
    out_.StartArray();
    return *this;
  }
  body_writer& end_object() {
    out_.EndObject();
    return *this;
  }
  body_writer& end_list() {
    out_.EndArray();
    return *this;
  }
  std::string text() {
    out_.EndObject();
    return {buffer_.GetString(), buffer_.GetSize()};
  }

private:
  rapidjson::StringBuffer buffer_;
  rapidjson::Writer<rapidjson::StringBuffer> out_{buffer_};
};

void write_compare(body_writer& out, const compare& which) {
  out.object().bytes("key", which.key);
  switch (which.how) {
  case compare::relation::equal:
    out.word("result", "EQUAL");
    break;
  case compare::relation::not_equal:
    out.word("result", "NOT_EQUAL");
    break;
  case compare::relation::less:
    out.word("result", "LESS");
    break;
  case compare::relation::greater:
    out.word("result", "GREATER");
    break;
  }
  switch (which.what) {
  case compare::subject::create_revision:
    out.word("target", "CREATE").number("create_revision", which.number);
    break;
  case compare::subject::mod_revision:
    out.word("target", "MOD").number("mod_revision", which.number);
    break;
  case compare::subject::value:
    out.word("target", "VALUE").bytes("value", which.text);
    break;
  }
  out.end_object();
}

void write_operation(body_writer& out, const operation& which) {
  out.object();
  if (auto* to_put = std::get_if<put>(&which)) {
    out.object("request_put").bytes("key", to_put->key).bytes("value", to_put->value);
    if (to_put->lease != 0)
      out.number("lease", to_put->lease);
  } else if (auto* to_erase = std::get_if<erase>(&which)) {
    out.object("request_delete_range").keys(to_erase->keys);
  } else {
    const auto& to_read = std::get<read>(which);
    out.object("request_range").keys(to_read.keys);
    if (to_read.most != 0)
      out.number("limit", to_read.most);
  }
  out.end_object().end_object();
}

// -- reading ------------------------------------------------------------------

/// The gateway writes 64-bit integers as strings; plain numbers are accepted too.
std::int64_t integer(const json::value& object, std::string_view name) {
  auto* found = json::member(object, name);
  if (found == nullptr)
    return 0;
  if (found->IsInt64())
    return found->GetInt64();
  std::int64_t number = 0;
  if (found->IsString())
    std::from_chars(found->GetString(), found->GetString() + found->GetStringLength(), number);
  return number;
}

bool flag(const json::value& object, std::string_view name) {
  auto* found = json::member(object, name);
  return found != nullptr && found->IsTrue();
}

revision revision_in(const json::value& object) {
  auto* header = json::member(object, "header");
  return header == nullptr ? 0 : integer(*header, "revision");
}

std::string cluster_in(const json::value& object) {
  auto* header = json::member(object, "header");
  return header == nullptr ? std::string{} : json::string_member(*header, "cluster_id");
}

/// The failure names the member but never its content.
result<std::string> bytes(const json::value& object, std::string_view name) {
  auto* found = json::member(object, name);
  if (found == nullptr)
    return std::string{};
  if (!found->IsString())
    return failure{"\"" + std::string{name} + "\" is no string"};
  return base::from_base64({found->GetString(), found->GetStringLength()});
}

result<key_value> read_key_value(const json::value& from) {
  auto key = bytes(from, "key");
  if (!key)
    return failure{"a key: " + key.error()};
  auto content = bytes(from, "value");
  if (!content)
    return failure{"the value of " + *key + ": " + content.error()};
  key_value entry;
  entry.key = *std::move(key);
  entry.value = *std::move(content);
  entry.create_revision = integer(from, "create_revision");
  entry.mod_revision = integer(from, "mod_revision");
  entry.lease = integer(from, "lease");
  return entry;
}

result<std::vector<key_value>> read_key_values(const json::value& range) {
  std::vector<key_value> all;
  auto* listed = json::member(range, "kvs");
  if (listed == nullptr || !listed->IsArray())
    return all;
  all.reserve(listed->Size());
  for (const auto& one : listed->GetArray()) {
    auto entry = read_key_value(one);
    if (!entry)
      return failure{entry.error()};
    all.push_back(*std::move(entry));
  }
  return all;
}

/// etcd's answers always have a header: tells them from other JSON.
result<json::document> parse_with_header(std::string_view text) {
  auto parsed = json::parse(text);
  if (parsed && json::member(*parsed, "header") == nullptr)
    return failure{"it has no header"};
  return parsed;
}

} // namespace

std::string transaction_body(const transaction& what) {
  body_writer out;
  out.list("compare");
  for (const auto& one : what.compares)
    write_compare(out, one);
  out.end_list().list("success");
  for (const auto& one : what.then)
    write_operation(out, one);
  out.end_list().list("failure");
  for (const auto& one : what.otherwise)
    write_operation(out, one);
  out.end_list();
  return out.text();
}

std::string range_body(const key_range& keys) {
  return body_writer{}.keys(keys).text();
}

std::string page_body(const key_range& keys, revision at, std::int64_t most) {
  return body_writer{}.keys(keys).number("revision", at).number("limit", most).text();
}

std::string newest_body(const key_range& keys, revision seen) {
  return body_writer{}
      .keys(keys)
      .number("min_mod_revision", seen + 1)
      .word("sort_target", "MOD")
      .word("sort_order", "DESCEND")
      .number("limit", 1)
      .flag("keys_only")
      .text();
}

std::string watch_body(const key_range& keys, revision from) {
  return body_writer{}
      .object("create_request")
      .keys(keys)
      .number("start_revision", from)
      .flag("progress_notify")
      .flag("fragment")
      .end_object()
      .text();
}

std::string grant_body(std::chrono::seconds ttl) {
  return body_writer{}.number("TTL", ttl.count()).text();
}

std::string lease_body(lease_id lease) {
  return body_writer{}.number("ID", lease).text();
}

result<commit_result> read_commit(std::string_view text, const transaction& what) {
  auto parsed = parse_with_header(text);
  if (!parsed)
    return failure{parsed.error()};
  commit_result answer;
  const bool held = flag(*parsed, "succeeded");
  answer.state = held ? commit_state::committed : commit_state::refused;
  answer.at = revision_in(*parsed);
  auto* responses = json::member(*parsed, "responses");
  if (responses != nullptr && responses->IsArray()) {
    for (const auto& one : responses->GetArray()) {
      auto* range = json::member(one, "response_range");
      if (range == nullptr)
        continue;
      auto found = read_key_values(*range);
      if (!found)
        return failure{found.error()};
      answer.reads.push_back(*std::move(found));
    }
  }
  std::size_t asked = 0;
  for (const auto& one : held ? what.then : what.otherwise)
    asked += std::holds_alternative<read>(one) ? 1 : 0;
  if (answer.reads.size() != asked)
    return failure{"it has " + std::to_string(answer.reads.size()) + " reads instead of "
                   + std::to_string(asked)};
  return answer;
}

result<range_answer> read_range(std::string_view text) {
  auto parsed = parse_with_header(text);
  if (!parsed)
    return failure{parsed.error()};
  auto found = read_key_values(*parsed);
  if (!found)
    return failure{found.error()};
  range_answer answer;
  answer.cluster = cluster_in(*parsed);
  answer.at = revision_in(*parsed);
  answer.found = *std::move(found);
  answer.count = integer(*parsed, "count");
  answer.more = flag(*parsed, "more");
  return answer;
}

std::optional<std::string> next_page(std::string_view text) {
  // Keys and values are base64 without quotes, so the text can only be a member's name.
  constexpr std::string_view name = "\"key\":\"";
  auto last = text.rfind(name);
  if (last == std::string_view::npos
      || text.find("\"more\":true", last + name.size()) == std::string_view::npos)
    return std::nullopt;
  auto rest = text.substr(last + name.size());
  auto key = base::from_base64(rest.substr(0, rest.find('"')));
  return key.ok() ? std::optional{*key + '\0'} : std::nullopt;
}

result<lease_answer> read_lease(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{parsed.error()};
  const json::value* inner = &*parsed;
  if (auto* wrapped = json::member(*parsed, "result"))
    inner = wrapped;
  if (json::member(*inner, "header") == nullptr) {
    auto why = read_refusal(text);
    return failure{why.code < 0 ? std::string{"it has no header"} : why.message};
  }
  lease_answer answer;
  answer.id = integer(*inner, "ID");
  answer.ttl = std::chrono::seconds{integer(*inner, "TTL")};
  return answer;
}

result<watch_line> read_watch_line(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{parsed.error()};
  watch_line line;
  auto* inner = json::member(*parsed, "result");
  if (inner == nullptr) {
    if (json::member(*parsed, "error") == nullptr)
      return failure{"it has neither a result nor an error"};
    line.error = read_refusal(text).message;
    return line;
  }
  line.cluster = cluster_in(*inner);
  line.at = revision_in(*inner);
  line.created = flag(*inner, "created");
  line.canceled = flag(*inner, "canceled");
  line.fragment = flag(*inner, "fragment");
  line.compacted = integer(*inner, "compact_revision");
  if (line.canceled) {
    line.error = json::string_member(*inner, "cancel_reason");
    if (line.error.empty())
      line.error = line.compacted > 0 ? "the changes asked for are compacted" : "it was cancelled";
  }
  auto* events = json::member(*inner, "events");
  if (events == nullptr || !events->IsArray())
    return line;
  line.events.reserve(events->Size());
  for (const auto& one : events->GetArray()) {
    auto* entry = json::member(one, "kv");
    if (entry == nullptr)
      return failure{"it has an event without a key"};
    auto read = read_key_value(*entry);
    if (!read)
      return failure{read.error()};
    change event;
    event.what =
        json::string_member(one, "type") == "DELETE" ? change::kind::erase : change::kind::put;
    event.entry = *std::move(read);
    line.events.push_back(std::move(event));
  }
  return line;
}

refusal read_refusal(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed || !parsed->IsObject())
    return {-1, std::string{text}};
  // In a stream, `error` is an object with these members; elsewhere they are at the top.
  const json::value* inner = &*parsed;
  if (auto* wrapped = json::member(*parsed, "error"); wrapped != nullptr && wrapped->IsObject())
    inner = wrapped;
  refusal why;
  for (auto name : {"code", "grpc_code"})
    if (json::member(*inner, name) != nullptr)
      why.code = static_cast<int>(integer(*inner, name));
  why.message = json::string_member(*inner, "message", json::string_member(*inner, "error"));
  if (why.message.empty())
    why.message = std::string{text};
  return why;
}

bool refuses_token(int status, const refusal& why) {
  constexpr int unauthorized = 401;
  if (status == unauthorized || why.code == unauthenticated)
    return true;
  // A watch answers with a message only.
  return why.message.find("invalid auth token") != std::string::npos
         || why.message.find("user name is empty") != std::string::npos
         || users_changed_meanwhile(why);
}

bool is_compacted(const refusal& why) {
  return why.message.find("has been compacted") != std::string::npos;
}

bool users_changed_meanwhile(const refusal& why) {
  // The same refusal in the words of several versions of etcd.
  return why.message.find("revision in header is old") != std::string::npos
         || why.message.find("revision of auth store is old") != std::string::npos;
}

bool certainly_not_done(int status, const refusal& why) {
  // etcd checks the token before it does anything.
  if (refuses_token(status, why) || blames_request(why.code))
    return true;
  // The answer is not etcd's: a proxy in front of it has refused the request. Of all 4xx only 408
  // (time-out) leaves open whether the request was done.
  if (why.code == -1)
    return status >= 400 && status < 500 && status != 408;
  // etcd gives both answers before it proposes the transaction to the cluster. "database space
  // exceeded" is different: etcd 3.4 also answers so to a transaction that it has just done.
  return why.message == "etcdserver: no leader" || why.message == "etcdserver: too many requests";
}

bool is_out_of_space(const refusal& why) {
  return why.message.find("database space exceeded") != std::string::npos;
}

bool worth_another_endpoint(int status, const refusal& why) {
  return status != 200 && !blames_request(why.code);
}

} // namespace matriarch::store::etcd_json
