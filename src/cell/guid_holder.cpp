#include "cell/guid_holder.hpp"

#include <unistd.h>

#include <array>
#include <chrono>

#include <fmt/format.h>

#include "store/announcer.hpp"
#include "store/cell_json.hpp"
#include "store/keys.hpp"

namespace matriarch::cell {

namespace {

constexpr std::chrono::milliseconds look_pause{250};

} // namespace

claimant claimant_of(const cell_config& config, const std::string& identity) {
  std::array<char, 256> name{"localhost"};
  ::gethostname(name.data(), name.size() - 1);
  return {config.guid, config.uri, name.data(), identity};
}

holder holder_of(const std::string& value, const claimant& self) {
  auto there = store::decode_cell_announcement(value);
  if (there.owner.empty())
    return holder::nobody;
  if (there.owner != self.identity)
    return holder::other;
  return there.uri == self.uri && there.host == self.machine ? holder::itself : holder::twin;
}

std::string whereabouts(const std::string& value) {
  auto there = store::decode_cell_announcement(value);
  return fmt::format("at {} on the machine {}", there.uri, there.host);
}

std::string taken_words(const std::string& value, const claimant& self) {
  auto is_twin = holder_of(value, self) == holder::twin;
  return fmt::format(
      "the guid {} is taken: the cell {} has it in etcd{} (what has ended leaves its "
      "guid within 10 s)",
      self.guid, whereabouts(value),
      is_twin ? ", and one of the two data directories is a copy of the other; give "
                "each cell a guid of its own and an empty data directory, in "
                "cell.guid and cell.data_dir"
              : "; give each cell a guid of its own, in cell.guid");
}

std::optional<std::string> who_else_has(store::etcd_client& etcd, const claimant& self,
                                        base::ending& ended) {
  const auto until = std::chrono::steady_clock::now() + store::announcer::longest_end;
  while (true) {
    auto value = store::value_now(etcd, store::keys::cell(self.guid));
    auto has = value ? holder_of(*value, self) : holder::nobody;
    if (has == holder::nobody || has == holder::itself)
      return std::nullopt;
    if (has == holder::other || std::chrono::steady_clock::now() > until
        || ended.comes_within(look_pause))
      return taken_words(*value, self);
  }
}

store::owned_key key_of(const claimant& self) {
  return {store::keys::cell(self.guid),
          [self](const std::string& value) -> std::optional<std::string> {
            auto has = holder_of(value, self);
            if (has == holder::nobody || has == holder::itself)
              return std::nullopt;
            return taken_words(value, self);
          }};
}

} // namespace matriarch::cell
