#include "actors/plan_questions.hpp"

#include <algorithm>
#include <utility>

#include "base/json.hpp"
#include "base/utf8.hpp"

namespace matriarch::actors {

namespace {

// The cell starts a server for each plan in turn, some hundredths of a second each, and has half a
// minute for all.
constexpr std::size_t most_plans = 50;
// A cell's own limits.
constexpr std::size_t most_parameters = 1'000;
constexpr std::size_t longest_value = 8'192;
// Far below 1 MiB, the longest body that a cell reads: escapes can make the text six times as long.
constexpr std::size_t most_bytes = 128 * 1024;
constexpr std::size_t longest_quote = 300;
constexpr std::size_t most_words = 100; // about one plan

/// The part of a plan's settings that a cell can be asked about.
struct askable {
  std::vector<std::pair<std::string, std::string>> parameters;
  std::size_t bytes = 0;
};

askable askable_of(const model::plan_settings& plan, std::vector<plan_unjudged>& left_out) {
  askable all;
  for (const auto& [name, text] : plan.settings.parameters) {
    auto size = name.size() + text.size();
    if (text.size() > longest_value)
      left_out.push_back({plan.plan_id, name + " has " + std::to_string(text.size()) + " bytes; "
                                            + std::to_string(longest_value)
                                            + " are judged at most"});
    else if (all.parameters.size() == most_parameters || all.bytes + size > most_bytes)
      left_out.push_back({plan.plan_id, name + " is not judged beside as many others"});
    else {
      all.parameters.emplace_back(name, text);
      all.bytes += size;
    }
  }
  return all;
}

std::string body_of(const std::vector<std::pair<std::string, askable>>& plans) {
  json::document body;
  body.SetObject();
  json::value all{rapidjson::kObjectType};
  for (const auto& [id, plan] : plans) {
    json::value parameters{rapidjson::kObjectType};
    for (const auto& [name, text] : plan.parameters)
      parameters.AddMember(json::string(name, body), json::string(text, body), body.GetAllocator());
    all.AddMember(json::string(id, body), parameters, body.GetAllocator());
  }
  json::add(body, "plans", std::move(all), body);
  return json::text_of(body);
}

} // namespace

plan_questions questions_about(const std::vector<model::plan_settings>& plans) {
  plan_questions all;
  std::vector<std::pair<std::string, askable>> piece;
  std::size_t bytes = 0;
  auto finish = [&] {
    if (piece.empty())
      return;
    plan_question asked{body_of(piece), {}};
    for (const auto& one : piece)
      asked.plan_ids.push_back(one.first);
    all.pieces.push_back(std::move(asked));
    piece.clear();
    bytes = 0;
  };
  for (const auto& plan : plans) {
    auto next = askable_of(plan, all.left_out);
    if (piece.size() == most_plans || bytes + next.bytes > most_bytes)
      finish();
    bytes += next.bytes;
    piece.emplace_back(plan.plan_id, std::move(next));
  }
  finish();
  return all;
}

std::optional<plan_judgement> judgement_in(std::string_view answer, const plan_question& asked,
                                           const std::vector<model::plan_settings>& plans) {
  auto parsed = json::parse(answer);
  const auto* faults = parsed.ok() ? json::member(*parsed, "faults") : nullptr;
  if (faults == nullptr || !faults->IsObject())
    return std::nullopt;
  plan_judgement all;
  all.engine_version = one_line(json::string_member(*parsed, "version"), longest_quote);
  const auto* unjudged = json::member(*parsed, "unjudged");
  for (const auto& plan : plans) {
    if (std::ranges::find(asked.plan_ids, plan.plan_id) == asked.plan_ids.end())
      continue;
    if (unjudged != nullptr && unjudged->IsObject())
      if (auto why = json::string_member(*unjudged, plan.plan_id); !why.empty())
        all.unjudged.push_back({plan.plan_id, one_line(why, longest_quote)});
    const auto* words = json::member(*faults, plan.plan_id);
    if (words == nullptr || !words->IsArray() || words->Empty())
      continue;
    model::plan_fault fault{plan.plan_id, model::digest_of(plan.settings), {}};
    for (const auto& one : words->GetArray())
      if (one.IsString() && fault.words.size() < most_words)
        fault.words.push_back(one_line(one.GetString(), longest_quote));
    all.faults.push_back(std::move(fault));
  }
  return all;
}

} // namespace matriarch::actors
