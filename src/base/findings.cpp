#include "base/findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace matriarch::base {

void findings::good(std::string about, std::string said) {
  all_.push_back({weight::good, std::move(about), std::move(said)});
}

void findings::doubt(std::string about, std::string said) {
  all_.push_back({weight::doubt, std::move(about), std::move(said)});
}

void findings::fault(std::string about, std::string said) {
  all_.push_back({weight::fault, std::move(about), std::move(said)});
}

std::string findings::faults() const {
  std::string text;
  for (const auto& one : all_)
    if (one.is == weight::fault)
      text += (text.empty() ? "" : "; ") + one.said;
  return text;
}

void findings::print(std::ostream& out) const {
  for (const auto& one : all_) {
    const char* word = one.is == weight::good ? "ok" : one.is == weight::doubt ? "doubt" : "FAULT";
    out << fmt::format("{:<6} {:<12} {}\n", word, one.about, one.said);
  }
  auto faults = std::ranges::count(all_, weight::fault, &finding::is);
  out << (faults == 0 ? "It can serve."
                      : fmt::format("{} of {} would keep it from serving.", faults, all_.size()))
      << std::endl;
}

int findings::exit_code() const {
  constexpr int something_is_wrong = 2;
  return faults().empty() ? 0 : something_is_wrong;
}

} // namespace matriarch::base
