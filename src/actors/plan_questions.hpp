#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/fitness.hpp"
#include "model/observation.hpp"

/// Questions to a cell about the catalog's plans, which the cell's engine checks, and the answers.
namespace matriarch::actors {

/// A body of `PUT /v2/<engine>`, and the plans whose settings are in it.
struct plan_question {
  std::string body;
  std::vector<std::string> plan_ids;
};

/// What was not judged of a plan, in words.
struct plan_unjudged {
  std::string plan_id;
  std::string words;
  bool operator==(const plan_unjudged&) const = default;
};

/// All plans, in pieces that a cell accepts and can judge in time. What is longer than a cell
/// accepts is left out and listed.
struct plan_questions {
  std::vector<plan_question> pieces;
  std::vector<plan_unjudged> left_out;
};
[[nodiscard]] plan_questions questions_about(const std::vector<model::plan_settings>& plans);

/// An answer has some kilobytes; the limit is for foreign cells.
inline constexpr std::size_t longest_judgement = 1024 * 1024;

struct plan_judgement {
  std::string engine_version;
  std::vector<model::plan_fault> faults;
  std::vector<plan_unjudged> unjudged;
};

/// The answer to one piece; nothing if it is unreadable.
[[nodiscard]] std::optional<plan_judgement>
judgement_in(std::string_view answer, const plan_question& asked,
             const std::vector<model::plan_settings>& plans);

} // namespace matriarch::actors
