#include "cell/fencing.hpp"

#include "base/enum_words.hpp"

namespace matriarch::cell {

namespace {

constexpr base::enum_words<fencing, 3> fencing_words{{{{fencing::pid_namespace, "pid-namespace"},
                                                       {fencing::user_namespace, "user-namespace"},
                                                       {fencing::none, "none"}}}};

} // namespace

std::string_view name_of(fencing kind) {
  return fencing_words.word_for(kind);
}

std::optional<fencing> fencing_named(std::string_view word) {
  return fencing_words.value_of(word);
}

} // namespace matriarch::cell
