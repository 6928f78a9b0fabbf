#include "http/tenant_answers.hpp"

#include <cstddef>

#include "base/json.hpp"
#include "http/tenant_text.hpp"

namespace matriarch::http {

namespace {

// Enough for descriptions of all sorts of trouble; healthy instances have few different ones.
constexpr std::size_t most_looked_through = 1'000;
// Credentials and parameters are longer, and differ each time.
constexpr std::size_t longest_looked_through = 512;

} // namespace

bool tenant_answers::is_harmless(const std::string& body, const model::cell_table& now) const {
  std::lock_guard lock{looking_};
  return looked_through_.cells == now && looked_through_.harmless.contains(body);
}

void tenant_answers::note_harmless(const std::string& body, const model::cell_table& now) const {
  std::lock_guard lock{looking_};
  if (looked_through_.cells != now || looked_through_.harmless.size() == most_looked_through)
    looked_through_ = {now, {}};
  looked_through_.harmless.insert(body);
}

std::string tenant_answers::reworded(const request& asked, std::string body) const {
  if (body.find(R"("description":)") == std::string::npos)
    return body;
  auto known_cells = desk_.cells();
  if (is_harmless(body, known_cells))
    return body;
  auto parsed = json::parse(body);
  if (!parsed.ok() || !parsed->IsObject())
    return body;
  auto said = parsed->FindMember("description");
  if (said == parsed->MemberEnd() || !said->value.IsString())
    return body;
  host_names names;
  names.internal.assign(internal_hosts_.begin(), internal_hosts_.end());
  for (const auto& cell : *known_cells) {
    names.internal.push_back(host_in(cell.uri));
    names.shown.emplace_back(cell.guid);
  }
  std::string_view text{said->value.GetString(), said->value.GetStringLength()};
  if (without_addresses(text, names) == text) {
    if (body.size() <= longest_looked_through)
      note_harmless(body, known_cells);
    return body;
  }
  // Names that the sender has used itself may be repeated.
  names.shown.insert(names.shown.end(), asked.segments.begin(), asked.segments.end());
  auto shown = without_addresses(text, names);
  if (shown == text)
    return body;
  said->value = json::string(shown, *parsed);
  return json::text_of(*parsed);
}

} // namespace matriarch::http
