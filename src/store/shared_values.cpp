#include "store/shared_values.hpp"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace matriarch::store {

model::shared_text shared(const std::string& read) {
  constexpr std::size_t most = 64;
  thread_local std::vector<model::shared_text> lately;
  if (read.empty())
    return {};
  auto same = std::ranges::find(lately, std::string_view{read}, &model::shared_text::text);
  if (same != lately.end())
    return *same;
  if (lately.size() == most)
    lately.erase(lately.begin());
  return lately.emplace_back(read);
}

model::shared_map<std::string, std::string> shared(std::map<std::string, std::string> read) {
  constexpr std::size_t most = 16;
  thread_local std::vector<model::shared_map<std::string, std::string>> lately;
  auto same = std::ranges::find_if(lately, [&](const auto& one) { return one.entries() == read; });
  if (same != lately.end())
    return *same;
  if (lately.size() == most)
    lately.erase(lately.begin());
  return lately.emplace_back(std::move(read));
}

} // namespace matriarch::store
