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

/// Cells of one make say the same, which is said once, with all of them.
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

std::string why_unfit_for_new(const std::string& plan_id, const cluster_settings& settings,
                              const std::vector<std::string>& among,
                              const std::vector<cell_view>& cells) {
  auto digest = digest_of(settings);
  std::vector<const cell_view*> unfit;
  bool some_fit = false;
  for (const auto& cell : cells) {
    if (among.empty() ? !cell.reachable : !has(among, cell.guid))
      continue;
    if (cell.fault_of(digest) != nullptr)
      unfit.push_back(&cell);
    else
      some_fit = true;
  }
  if (unfit.empty() || (among.empty() && some_fit))
    return {};
  return words_of(plan_id, digest, unfit);
}

std::string why_unfit_for_change(const std::string& plan_id, const cluster_settings& settings,
                                 const std::vector<std::string>& among,
                                 const std::vector<std::string>& used,
                                 const std::vector<cell_view>& cells) {
  auto digest = digest_of(settings);
  std::vector<const cell_view*> unfit;
  for (const auto& cell : cells)
    if ((has(among, cell.guid) || has(used, cell.guid)) && cell.fault_of(digest) != nullptr)
      unfit.push_back(&cell);
  return unfit.empty() ? std::string{} : words_of(plan_id, digest, unfit);
}

} // namespace matriarch::model
