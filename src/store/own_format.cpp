// This release's formats, apart from the rules in formats.cpp: test/e2e/ has a program with other
// formats.
#include "store/formats.hpp"

namespace matriarch::store {

const int own_format = 2;
const int own_min_reader = 1;

void add_format(json::document& value, int min_reader) {
  json::add(value, "format", own_format, value);
  json::add(value, "min_reader", min_reader, value);
}

} // namespace matriarch::store
