#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace matriarch::base {

/// The findings of `--check`, in the order in which they were found.
class findings {
public:
  enum class weight {
    good,
    doubt, ///< the server would run, but something is likely to cause trouble
    fault, ///< the server would not run, or not work
  };
  struct finding {
    weight is;
    std::string about; ///< one word
    std::string said;
    bool operator==(const finding&) const = default;
  };

  void good(std::string about, std::string said);
  void doubt(std::string about, std::string said);
  void fault(std::string about, std::string said);

  [[nodiscard]] const std::vector<finding>& all() const { return all_; }
  /// The findings of weight `fault` as one text; empty if there are none.
  [[nodiscard]] std::string faults() const;
  /// Prints a line for each finding.
  void print(std::ostream& out) const;
  /// 0, or 2 if there is a fault.
  [[nodiscard]] int exit_code() const;

private:
  std::vector<finding> all_;
};

} // namespace matriarch::base
