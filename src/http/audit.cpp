#include "http/audit.hpp"

#include <algorithm>

#include "base/json.hpp"
#include "base/times.hpp"
#include "base/utf8.hpp"
#include "http/originating_identity.hpp"
#include "http/parameter_schemas.hpp"
#include "model/words.hpp"

namespace matriarch::http {

namespace {

// Ids are GUIDs, and names and addresses are short: only an attacker who floods the trail sends
// more.
constexpr std::size_t longest_text = 512;
// Parameters and identities; those of honest requests have some 100 bytes.
constexpr std::size_t longest_object = 2048;

using verb_action = std::pair<method, const char*>;

std::string action_in(std::initializer_list<verb_action> known, method verb) {
  const auto* found = std::ranges::find(known, verb, &verb_action::first);
  return found == known.end() ? "unknown" : found->second;
}

bool changes(const request& got) {
  if (got.segments.empty())
    return false;
  if (got.segments[0] == "v2")
    return got.verb == method::put || got.verb == method::patch || got.verb == method::del;
  return got.segments[0] == "admin" && got.verb != method::get && got.verb != method::head
         && got.verb != method::options;
}

class line_writer {
public:
  line_writer() { line_.SetObject(); }

  json::document& owner() { return line_; }
  static json::value object() { return json::value{rapidjson::kObjectType}; }

  /// Adds a text from outside, if it is not empty.
  void add_text(json::value& into, const char* name, std::string_view text) {
    if (!text.empty())
      json::add(into, name, legible(text, longest_text), line_);
  }
  void add_text(const char* name, std::string_view text) { add_text(line_, name, text); }

  /// A copy of a value, or the start of its text if it is too long.
  json::value bounded(const json::value& value) {
    auto text = json::text_of(value);
    return text.size() <= longest_object ? json::value{value, line_.GetAllocator()}
                                         : json::string(legible(text, longest_object), line_);
  }

private:
  json::document line_;
};

void add_sender(line_writer& line, const audited_request& about) {
  const auto& got = *about.got;
  auto who = line_writer::object();
  line.add_text(who, "user", about.user);
  if (auto identity = read_originating_identity(got); identity.ok() && *identity) {
    auto shown = line_writer::object();
    line.add_text(shown, "platform", (*identity)->platform);
    json::add(shown, "value", line.bounded((*identity)->value), line.owner());
    json::add(who, "originating_identity", std::move(shown), line.owner());
  }
  line.add_text(who, "address", got.remote);
  line.add_text(who, "forwarded_for", about.client);
  json::add(line.owner(), "who", std::move(who), line.owner());
}

void add_target(line_writer& line, const request& got) {
  const auto& path = got.segments;
  auto segment = [&](std::size_t i) { return i < path.size() ? path[i] : std::string{}; };
  if (segment(0) == "v2" && segment(1) == "service_instances") {
    line.add_text("instance_id", segment(2));
    if (segment(3) == "service_bindings")
      line.add_text("binding_id", segment(4));
  } else if (segment(0) == "admin" && segment(1) == "service_instances") {
    line.add_text("instance_id", segment(2));
  } else if (segment(0) == "admin" && (segment(1) == "cells" || segment(1) == "orphans")) {
    line.add_text("cell", segment(2));
    if (segment(1) == "orphans")
      line.add_text("node_id", segment(3));
  }
}

/// The parameters, without the values of those that are in no schema: users may send anything.
json::value shown_parameters(line_writer& line, const json::value& sent) {
  if (!sent.IsObject())
    return json::string("(no object)", line.owner());
  auto shown = line_writer::object();
  auto& allocator = line.owner().GetAllocator();
  for (const auto& m : sent.GetObject()) {
    auto value = is_parameter({m.name.GetString(), m.name.GetStringLength()})
                     ? json::value{m.value, allocator}
                     : json::string("(not shown)", line.owner());
    shown.AddMember(json::value{m.name, allocator}, value, allocator);
  }
  return line.bounded(shown);
}

void add_body(line_writer& line, const request& got) {
  json::document none;
  none.SetObject();
  auto read = json::parse(got.body);
  const json::value& body = read.ok() ? static_cast<const json::value&>(*read) : none;
  for (const auto* name : {"service_id", "plan_id"}) {
    const auto* in_query = got.query_value(name);
    line.add_text(name, in_query == nullptr ? json::string_member(body, name) : *in_query);
  }
  if (const auto* sent = json::member(body, "parameters"))
    json::add(line.owner(), "parameters", shown_parameters(line, *sent), line.owner());
}

void add_result(line_writer& line, const response& answer) {
  auto result = line_writer::object();
  json::add(result, "status", answer.status, line.owner());
  // Answers with credentials have status 200 or 201: these are not read.
  if (answer.status == 202 || answer.status >= 400)
    if (auto said = json::parse(answer.body); said.ok())
      for (const auto* name : {"error", "description", "operation"})
        line.add_text(result, name, json::string_member(*said, name));
  json::add(line.owner(), "result", std::move(result), line.owner());
}

} // namespace

std::string action_of(const request& got) {
  if (!changes(got))
    return {};
  const auto& path = got.segments;
  if (path.size() == 3 && path[1] == "service_instances")
    return action_in(
        {{method::put, "provision"}, {method::patch, "update"}, {method::del, "deprovision"}},
        got.verb);
  if (path.size() == 5 && path[1] == "service_instances" && path[3] == "service_bindings")
    return action_in({{method::put, "bind"}, {method::del, "unbind"}}, got.verb);
  if (path.size() == 4 && path[0] == "admin" && path[1] == "cells")
    return path[3];
  if (path.size() == 4 && path[0] == "admin" && path[1] == "service_instances")
    return path[3] == "rebuild" ? action_in({{method::post, "rebuild"}}, got.verb) : "unknown";
  if (path.size() == 4 && path[0] == "admin" && path[1] == "orphans")
    return "remove-orphan";
  if (path.size() == 2 && path[0] == "admin")
    return path[1];
  return "unknown";
}

std::string audit_line(const audited_request& about, const response& answer, model::wall_time now,
                       std::uint64_t left_out) {
  const auto& got = *about.got;
  line_writer line;
  line.add_text("time", base::text_of(now));
  add_sender(line, about);
  line.add_text("action", about.action);
  add_target(line, got);
  if (about.action == refused_access)
    line.add_text("path", got.path);
  else
    add_body(line, got);
  if (const auto* identity = got.header("x-broker-api-request-identity"))
    line.add_text("request_identity", *identity);
  add_result(line, answer);
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now()
                                                                    - about.since);
  json::add(line.owner(), "duration_ms", static_cast<std::int64_t>(took.count()), line.owner());
  if (left_out > 0)
    json::add(line.owner(), "left_out", static_cast<std::int64_t>(left_out), line.owner());
  return json::text_of(line.owner());
}

std::optional<std::string> audit_line(const model::event& one) {
  const auto* end = std::get_if<model::operation_ended>(&one.what);
  if (end == nullptr)
    return std::nullopt;
  json::document line;
  line.SetObject();
  json::add(line, "time", base::text_of(one.at), line);
  json::add(line, "action", std::string{"end of "} + model::text_of(end->type), line);
  json::add(line, "instance_id", one.instance_id, line);
  json::add(line, "operation", end->operation_id, line);
  if (!end->requested_by.empty())
    json::add(line, "originating_identity", end->requested_by, line);
  json::add(line, "result", end->succeeded ? "succeeded" : "failed", line);
  if (!end->description.empty())
    json::add(line, "description", end->description, line);
  json::add(line, "duration_ms", end->took.count(), line);
  return json::text_of(line);
}

std::optional<std::uint64_t> line_limiter::admit(time_point now) {
  auto earned = (now - earned_) / pace;
  if (earned > 0) {
    left_ = static_cast<int>(
        std::min<std::int64_t>(burst, left_ + std::min<std::int64_t>(burst, earned)));
    earned_ += earned * pace;
  }
  if (left_ == 0) {
    ++left_out_;
    return std::nullopt;
  }
  --left_;
  return std::exchange(left_out_, 0);
}

reply::~reply() {
  record({500, {}, {}});
}

void reply::audit(audited_request about, const audit_sink& into) {
  if (into)
    trail_ = std::make_unique<trail>(trail{std::move(about), into});
}

void reply::add_header(std::string name, std::string value) {
  to_.add_header(std::move(name), std::move(value));
}

void reply::send(response answer) {
  record(answer);
  if (reword_)
    answer.body = reword_(std::move(answer.body));
  to_.send(std::move(answer));
}

void reply::record(const response& answer) {
  if (auto told = std::exchange(trail_, nullptr))
    told->into(audit_line(told->about, answer,
                          std::chrono::floor<model::duration>(std::chrono::system_clock::now())));
}

} // namespace matriarch::http
