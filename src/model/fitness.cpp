#include "model/fitness.hpp"

#include <algorithm>
#include <map>

#include "base/utf8.hpp"

namespace matriarch::model {

namespace {

bool has(const std::vector<std::string>& all, const std::string& one) {
  return std::ranges::find(all, one) != all.end();
}

std::string joined(const std::vector<std::string>& all, const std::string& between) {
  std::string text;
  for (const auto& one : all)
    text += (text.empty() ? "" : between) + one;
  return text;
}

bool is_too_small(const cluster_settings& settings, const cell_view& cell) {
  return settings.limits && !why_too_small(*settings.limits, cell).empty();
}

/// The limits that no cell among these can give, in words; empty if none of the cells is too small.
std::string too_large(const std::string& plan_id, const cluster_settings& settings,
                      const std::vector<const cell_view*>& cells) {
  // Machines of one make say the same, which is said once.
  std::map<std::string, std::vector<std::string>> cells_of;
  for (const auto* cell : cells)
    if (auto why = settings.limits ? why_too_small(*settings.limits, *cell) : ""; !why.empty())
      cells_of[why].push_back(cell->guid);
  std::string reasons;
  for (const auto& [why, guids] : cells_of)
    reasons += (reasons.empty() ? "" : "; ") + std::string{guids.size() == 1 ? "" : "each of "}
               + joined(guids, ", ") + " " + why;
  return reasons.empty() ? ""
                         : "plan " + quoted(plan_id) + " asks for more than there is: " + reasons
                               + "; an operator has to correct the plan, or these cells";
}

/// Cells of one kind report the same fault: list it once, with all of these cells.
std::string words_of(const std::string& plan_id, const std::string& digest,
                     const std::vector<const cell_view*>& unfit) {
  std::map<std::string, std::vector<std::string>> cells_of;
  for (const auto* cell : unfit)
    cells_of[joined(cell->fault_of(digest)->words, "; ")].push_back(cell->guid);
  std::string text =
      "the database does not take the settings of plan " + matriarch::quoted(plan_id);
  for (const auto& [words, guids] : cells_of)
    text += (guids.size() == 1 ? ", on cell " : ", on cells ") + joined(guids, ", ") + ": " + words;
  return text + "; an operator has to correct the plan, or these cells";
}

} // namespace

std::string why_too_small(const node_limits& limits, const cell_view& cell) {
  std::string reasons;
  auto compare = [&](const char* what, std::int64_t wanted, std::int64_t has) {
    if (has > 0 && wanted > has)
      reasons += (reasons.empty() ? "has " : ", and ") + size_in_words(has) + " of " + what
                 + ", less than the plan's " + size_in_words(wanted);
  };
  compare("memory", limits.memory, cell.memory);
  compare("disk", limits.disk, cell.disk);
  return reasons;
}

std::string why_unfit_for_new(const std::string& plan_id, const cluster_settings& settings,
                              const std::vector<std::string>& among,
                              const std::vector<cell_view>& cells) {
  auto digest = digest_of(settings);
  std::vector<const cell_view*> unfit;
  std::vector<const cell_view*> small;
  bool some_fit = false;
  for (const auto& cell : cells) {
    if (among.empty() ? !cell.reachable : !has(among, cell.guid))
      continue;
    if (is_too_small(settings, cell))
      small.push_back(&cell);
    else if (cell.fault_of(digest) != nullptr)
      unfit.push_back(&cell);
    else
      some_fit = true;
  }
  if (among.empty() && some_fit)
    return {};
  if (!unfit.empty())
    return words_of(plan_id, digest, unfit);
  return too_large(plan_id, settings, small);
}

std::string why_unfit_for_change(const std::string& plan_id, const cluster_settings& settings,
                                 const std::vector<std::string>& among,
                                 const std::vector<std::string>& used,
                                 const std::vector<cell_view>& cells) {
  auto digest = digest_of(settings);
  std::vector<const cell_view*> unfit;
  std::vector<const cell_view*> small;
  bool some_fit = false;
  for (const auto& cell : cells) {
    if ((has(among, cell.guid) || has(used, cell.guid)) && cell.fault_of(digest) != nullptr)
      unfit.push_back(&cell);
    // Other limits need new nodes, which may be on any reachable cell unless the request names
    // cells.
    if (among.empty() ? cell.reachable : has(among, cell.guid)) {
      if (is_too_small(settings, cell))
        small.push_back(&cell);
      else
        some_fit = true;
    }
  }
  if (!unfit.empty())
    return words_of(plan_id, digest, unfit);
  return among.empty() && some_fit ? std::string{} : too_large(plan_id, settings, small);
}

} // namespace matriarch::model
