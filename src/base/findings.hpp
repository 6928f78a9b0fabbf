#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace matriarch::base {

/// What `--check` finds, in the order in which it looked.
class findings {
public:
  enum class weight {
    good,
    doubt, ///< it would serve, and something is likely to hurt
    fault, ///< it would not serve, or not do what it is for
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
  /// Those of that weight, as one text; empty if there is none.
  [[nodiscard]] std::string faults() const;
  /// A line for each.
  void print(std::ostream& out) const;
  /// 0, or 2 if there is a fault.
  [[nodiscard]] int exit_code() const;

private:
  std::vector<finding> all_;
};

} // namespace matriarch::base
