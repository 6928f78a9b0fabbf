#include "cell/guid_holder.hpp"

#include <unistd.h>

#include <array>

#include <fmt/format.h>

#include "store/cell_json.hpp"
#include "store/keys.hpp"

namespace matriarch::cell {

claimant claimant_of(const cell_config& config, const std::string& identity) {
  std::array<char, 256> name{"localhost"};
  ::gethostname(name.data(), name.size() - 1);
  return {config.guid, config.uri, name.data(), identity};
}

holder holder_of(const std::string& value, const claimant& self) {
  auto there = store::decode_cell_announcement(value);
  if (there.owner.empty())
    return holder::nobody;
  return there.owner == self.identity ? holder::itself : holder::other;
}

std::string whereabouts(const std::string& value) {
  auto there = store::decode_cell_announcement(value);
  return fmt::format("at {} on the machine {}", there.uri, there.host);
}

std::string taken_words(const std::string& value, const claimant& self) {
  return fmt::format("the guid {} is taken: the cell {} has it in etcd; give each cell a guid of "
                     "its own, in cell.guid (what has ended leaves its guid within 10 s)",
                     self.guid, whereabouts(value));
}

store::owned_key key_of(const claimant& self) {
  return {store::keys::cell(self.guid),
          [self](const std::string& value) -> std::optional<std::string> {
            if (holder_of(value, self) != holder::other)
              return std::nullopt;
            return taken_words(value, self);
          }};
}

} // namespace matriarch::cell
