#include "cell/agent.hpp"

#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "store/cell_json.hpp"
#include "store/keys.hpp"

namespace matriarch::cell {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Often enough to notice a node's end well within the shortest lease of a leader; each look costs
// one small read of /proc for each node.
constexpr milliseconds tick_pause{250};
// An agent that was suspended for this long was probably suspended with its whole machine, and
// other nodes may have taken over from its leaders: the shortest lease of a leader is longer.
constexpr seconds standstill{3};
// Any user who can log in can make a database write to its log as fast as the disk allows.
constexpr seconds log_look{1};

base::owner agents_own() {
  return {geteuid(), getegid()};
}

std::string name_of_machine() {
  char name[256] = "localhost";
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::int64_t now_in_milliseconds() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

} // namespace

result<std::unique_ptr<agent>> agent::open(const cell_config& config, node_driver& driver,
                                           node_engine& engine, base::event_loop& loop,
                                           store::etcd_client& etcd) {
  std::error_code error;
  fs::create_directories(config.data_dir, error);
  if (error)
    return failure{
        fmt::format("cannot create cell.data_dir {}: {}", config.data_dir, error.message())};
  // A killed predecessor's children hold the lock until they have noticed that it is gone.
  constexpr seconds patience{2};
  auto lock = base::directory_lock::take(config.data_dir, "another cell works on the same data_dir",
                                         patience);
  if (!lock)
    return failure{lock.error()};
  std::unique_ptr<agent> made{new agent{config, driver, engine, loop, etcd, *std::move(lock)}};
  if (auto wrong = made->load())
    return failure{*wrong};
  return made;
}

agent::agent(const cell_config& config, node_driver& driver, node_engine& engine,
             base::event_loop& loop, store::etcd_client& etcd, base::directory_lock lock)
    : config_(config), driver_(driver), engine_(engine), loop_(loop), lock_(std::move(lock)),
      announcer_(etcd, "the cell"), gauge_(loop), surroundings_{config.data_dir + "/trash",
                                                                name_of_machine(),
                                                                loop,
                                                                driver,
                                                                engine,
                                                                announcer_,
                                                                remover_,
                                                                gauge_,
                                                                config.least_free_disk} {}

std::string agent::directory_of(const std::string& node_id) const {
  return fmt::format("{}/nodes/{}", config_.data_dir, node_id);
}

claimant agent::self() const {
  return claimant_of(config_, identity_);
}

// -- what is on disk ------------------------------------------------------------------------------

std::optional<std::string> agent::load() {
  // A node without a mount namespace reaches its own directory through these.
  for (auto [name, mode] : {std::pair{"nodes", 0711}, std::pair{"trash", 0700}})
    if (auto error = base::make_directory(fmt::format("{}/{}", config_.data_dir, name),
                                          static_cast<mode_t>(mode), agents_own()))
      return error;
  const auto& user = driver_.user();
  auto above = fs::path{config_.data_dir}.parent_path().string();
  if (auto closed = base::first_closed(above, user.uid, user.groups))
    return fmt::format("cell.data_dir {}: the user {} that nodes run as cannot pass through {}; "
                       "allow it with: chmod o+x {}",
                       config_.data_dir, user.name, *closed, *closed);
  struct statvfs mounted {};
  if (::statvfs(config_.data_dir.c_str(), &mounted) == 0 && (mounted.f_flag & ST_NOEXEC) != 0)
    return fmt::format("cell.data_dir {} is mounted with noexec, but each node has programs "
                       "there; mount it without, or choose another directory",
                       config_.data_dir);
  auto identity = store::identity_in(config_.data_dir);
  if (!identity)
    return identity.error();
  identity_ = *identity;
  if (auto wrong = load_memory())
    return wrong;
  for (const auto& name : base::names_in(config_.data_dir + "/nodes"))
    load_node(name);
  return close_data_dir();
}

std::optional<std::string> agent::load_memory() {
  auto path = config_.data_dir + "/fence.json";
  // The cell's longest file if the cell has had many scopes.
  auto text = base::read_file(path);
  if (!text)
    return text.error();
  if (*text) {
    auto read = fence::parse(**text);
    if (!read)
      return fmt::format(
          "{} is damaged ({}); restore it, for it says which nodes must not come back", path,
          read.error());
    fence_ = *std::move(read);
  }
  return std::nullopt;
}

/// Closes the data directory to all other users. A node finds its own directory in its namespace,
/// so the nodes of another cell on this machine cannot reach it either, although they run as the
/// same user.
std::optional<std::string> agent::close_data_dir() const {
  auto isolates = driver_.can().how != fencing::none;
  for (const auto& [id, found] : nodes_)
    if (isolates && found->is() == node::state::starting && !found->what().record.isolated) {
      spdlog::warn("node {} was started by an older cell: until it is restarted, a superuser of "
                   "another database here can read its files",
                   id);
      return std::nullopt;
    }
  return base::make_directory(config_.data_dir, 0700, agents_own());
}

void agent::load_node(const std::string& name) {
  auto directory = directory_of(name);
  auto text = base::read_file(node_files{directory}.record);
  if (text && !*text) {
    // The record is written before anything starts: without a record nothing ever ran there.
    if (auto error =
            base::move_durably(directory, fmt::format("{}/trash/{}", config_.data_dir, name)))
      spdlog::error("{}", *error);
    return;
  }
  auto record = text ? parse_node_record(**text, engine_.rules())
                     : result<node_record>{failure{text.error()}};
  if (!record || record->request.node_id != name) {
    spdlog::error("the node in {} is left alone, for its record cannot be read: {}", directory,
                  record ? "it is another node's" : record.error());
    left_alone_.insert(name);
    return;
  }
  auto found = make(*std::move(record));
  found->adopt();
  nodes_.emplace(name, std::move(found));
}

agent::node_ptr agent::make(node_record record) {
  auto directory = directory_of(record.request.node_id);
  return std::make_shared<node>(std::move(record), directory, surroundings_,
                                [this](const std::string& node_id) { nodes_.erase(node_id); });
}

std::optional<std::string> agent::save_memory() {
  return base::write_durably(config_.data_dir + "/fence.json", fence_.text(), agents_own());
}

// -- its nodes ------------------------------------------------------------------------------------

agent::node_ptr agent::find(const std::string& node_id) const {
  auto found = nodes_.find(node_id);
  return found == nodes_.end() ? nullptr : found->second;
}

std::set<std::string> agent::scopes() const {
  std::set<std::string> all;
  for (const auto& [id, one] : nodes_)
    all.insert(one->what().record.request.scope);
  return all;
}

std::optional<endpoint> agent::free_endpoint() const {
  auto taken = keys_.places();
  for (const auto& [id, which] : nodes_)
    taken.insert(name_of(which->what().record.where));
  return choose_endpoint(
      config_.endpoints, taken, fence_.resting(), now_in_milliseconds(), [](const endpoint& where) {
        return can_listen(where.host, where.port) && can_listen(where.host, where.api_port);
      });
}

result<agent::node_ptr> agent::add(node_request wanted, const endpoint& where,
                                   const std::optional<node_key>& key) {
  auto node_id = wanted.node_id;
  auto made = make(node_record{std::move(wanted), where, std::nullopt, driver_.can().how});
  auto error = base::make_directory(directory_of(node_id), 0711, agents_own());
  if (!error && key && !key->certificate.empty())
    error = made->install(*key);
  if (!error)
    error = made->save();
  if (error) {
    spdlog::error("node {} cannot be made: {}", node_id, *error);
    return failure{*error};
  }
  nodes_.emplace(node_id, made);
  made->launch();
  return made;
}

void agent::start(const std::string& certificate_request, std::function<void(std::string)> taken) {
  for (const auto& name : base::names_in(config_.data_dir + "/trash"))
    remover_.remove(fmt::format("{}/trash/{}", config_.data_dir, name),
                    [](const std::optional<std::string>& error) {
                      if (error)
                        spdlog::error("{}", *error);
                    });
  auto own = self();
  announcer_.only_with(key_of(own), std::move(taken));
  announcer_.put(
      store::keys::cell(config_.guid),
      store::encode_cell_announcement({config_.guid, config_.availability_zone, config_.uri,
                                       static_cast<std::int64_t>(config_.capacity), own.machine,
                                       identity_, certificate_request}));
  announcer_.start();
  // Removing a node may destroy it at once, so this goes over a copy.
  for (const auto& [id, found] : std::map{nodes_})
    if (fence_.buried(id))
      found->remove();
  last_tick_ = clock::now();
  engine_.start(!nodes_.empty());
  tick();
  bound_logs();
}

void agent::tick() {
  loop_.after(tick_pause, life_.guard([this] { tick(); }));
  auto now = clock::now();
  auto stood_still = now - std::exchange(last_tick_, now) > standstill;
  // Looking after a node may remove it from the map.
  auto nodes = nodes_;
  if (stood_still)
    for (const auto& [id, which] : nodes)
      which->suspect();
  for (const auto& [id, which] : nodes)
    which->look_after();
  engine_.tick();
}

void agent::bound_logs() {
  loop_.after(log_look, life_.guard([this] { bound_logs(); }));
  for (const auto& [id, which] : nodes_)
    which->bound_log();
}

} // namespace matriarch::cell
