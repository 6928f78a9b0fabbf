#include "cell/agent.hpp"

#include <openssl/crypto.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/base64.hpp"
#include "base/json.hpp"
#include "cell/backends.hpp"
#include "cell/drivers/view.hpp"
#include "cell/lock_guard.hpp"
#include "cell/own_settings.hpp"
#include "cell/rest_limits.hpp"
#include "model/names.hpp"
#include "store/cell_json.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"
#include "tls/certificate.hpp"

namespace matriarch::cell {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Often enough that a node's end is noticed well below Patroni's shortest lease; a look costs one
// small read of /proc a node.
constexpr milliseconds tick_pause{250};
/// As the broker names the roles of bindings, and nobody else does.
constexpr std::string_view role_of_binding = "binding_";
/// The broker repeats its order for as long as it is needed. A client that had connected before has
/// PostgreSQL's authentication_timeout to say who it is, and is refused by nothing that came later.
constexpr milliseconds longest_kept_out{12'000};
/// A session that comes back, before PostgreSQL has read its file again, takes longer to hold what keeps
/// others out. After that only those come that had connected before.
constexpr milliseconds short_keep_out_pause{20};
constexpr milliseconds keep_out_pause{250};
constexpr milliseconds looked_often{2'000};
// A node that starts is looked at often, for somebody waits; one that runs only to notice a change.
constexpr milliseconds probe_pause_starting{500};
constexpr milliseconds probe_pause_running{5'000};
// A leader that freezes is to be known as such before another one leads, which takes Patroni's ttl.
constexpr milliseconds probe_pause_leading{1'000};
// An agent that stood still for so long stood still with its machine, and somebody may have taken
// over from its leaders: Patroni's shortest ttl is longer.
constexpr seconds standstill{3};
// PostgreSQL's clean stop takes two seconds, more where a checkpoint has much to write.
constexpr seconds clean_stop{20};
// Patroni loses a signal that comes before it has set its handlers, so it is sent again.
constexpr milliseconds signal_pause{1'000};
// Brokers wait 30 seconds for an answer.
constexpr seconds longest_answer{28};
// A directory that cannot be removed, say on a failing disk, is tried again at a calm pace.
constexpr seconds removal_pause{2};
// Whoever logs in can have PostgreSQL write to its log as fast as the disk takes it.
constexpr seconds log_look{1};
constexpr seconds postgresql_look{60};
// Python reads Patroni's modules in a third of a second; a machine that boots takes longer.
constexpr seconds longest_guard_check{60};
// Somebody may have put the right Patroni in place.
constexpr seconds guard_check_pause{60};
// The broker signs for a key at once.
constexpr seconds key_waits{60};
// What a node shows until it has a certificate of the fleet's: nobody looks at its end.
constexpr std::chrono::days unchecked_life{10 * 365};
// The clocks of clients differ.
constexpr std::chrono::days backdated{1};
// Twice this for each node: the log and the one before it.
constexpr std::size_t longest_log = 8 * 1024 * 1024;
/// What a file may have, in bytes, that a node's user can write, who may be a tenant.
constexpr std::size_t longest_file_of_node = 1024 * 1024;

std::string cannot_be_read(const std::string& node_id) {
  return fmt::format(
      "the node {} is here, and this cell cannot read its record: it is left alone; the "
      "cell's log says why",
      node_id);
}

std::int64_t wall_milliseconds() {
  return std::chrono::duration_cast<milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

http::response answer(int status, std::string_view description = {}, const char* error = nullptr) {
  json::document body;
  body.SetObject();
  if (error)
    json::add(body, "error", error, body);
  if (!description.empty())
    json::add(body, "description", description, body);
  http::response made;
  made.status = status;
  made.body = json::text_of(body);
  return made;
}

/// A file that has to be there.
result<std::string> text_in(const std::string& path) {
  auto text = base::read_file(path);
  if (!text)
    return failure{text.error()};
  if (!*text)
    return failure{fmt::format("there is no file {}", path)};
  return **std::move(text);
}

/// Such a name needs no quotes in pg_hba.conf.
bool is_role_of_binding(std::string_view name) {
  return name.starts_with(role_of_binding) && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

std::string first_certificate_in(std::string_view text) {
  auto all = tls::certificates_in(text);
  return all.empty() ? "" : std::move(all.front());
}

/// The broker's claim in a request's headers; the failure is the client's.
result<fencing_claim> claim_of(const http::request& asked) {
  fencing_claim claim;
  if (const auto* scope = asked.header("x-matriarch-scope"))
    claim.scope = *scope;
  if (const auto* fleet = asked.header("x-matriarch-fleet"))
    claim.fleet = *fleet;
  if (const auto* text = asked.header("x-matriarch-revision")) {
    std::int64_t revision = 0;
    const auto* end = text->data() + text->size();
    auto [stopped, error] = std::from_chars(text->data(), end, revision);
    if (error != std::errc{} || stopped != end || revision < 0)
      return failure{"the header X-Matriarch-Revision must be an integer of 0 or more"};
    claim.revision = revision;
  }
  return claim;
}

} // namespace

// -- what is on disk ------------------------------------------------------------------------------

result<std::unique_ptr<agent>> agent::open(const cell_config& config, const system_user& user,
                                           fencing how, base::event_loop& loop,
                                           store::etcd_client& etcd) {
  std::error_code error;
  fs::create_directories(config.data_dir, error);
  if (error)
    return failure{
        fmt::format("cannot create cell.data_dir {}: {}", config.data_dir, error.message())};
  // A killed predecessor's children hold the lock until they have read that it is gone.
  constexpr seconds patience{2};
  auto lock = base::directory_lock::take(config.data_dir, "another cell works on the same data_dir",
                                         patience);
  if (!lock)
    return failure{lock.error()};
  std::unique_ptr<agent> made{new agent{config, user, how, loop, etcd, *std::move(lock)}};
  if (auto wrong = made->load())
    return failure{*wrong};
  return made;
}

agent::agent(const cell_config& config, const system_user& user, fencing how,
             base::event_loop& loop, store::etcd_client& etcd, base::directory_lock lock)
    : config_(config), user_(user), how_(how), loop_(loop), lock_(std::move(lock)),
      expected_authorization_("Basic " + base::to_base64(config.username + ":" + config.password)),
      announcer_(etcd, "the cell"),
      judge_({config.postgresql.bin_dir, config.data_dir + "/postgresql", user, how,
              environment_of("/", ""),
              [this](launch& what) { limit_view(what, config_.data_dir + "/postgresql"); }},
             loop) {
  char name[256] = "localhost";
  ::gethostname(name, sizeof name - 1);
  hostname_ = name;
}

base::owner agent::agents_own() const {
  return {geteuid(), getegid()};
}

base::owner agent::nodes_own() const {
  return {user_.uid, user_.gid};
}

base::owner agent::shown_to_nodes() const {
  return {geteuid(), user_.gid};
}

std::string agent::directory_of(const std::string& node_id) const {
  return fmt::format("{}/nodes/{}", config_.data_dir, node_id);
}

std::optional<std::string> agent::load() {
  // Without a namespace of its own a node passes through to what is its own.
  for (auto [name, mode] : {std::pair{"nodes", 0711}, std::pair{"trash", 0700}})
    if (auto error = base::make_directory(fmt::format("{}/{}", config_.data_dir, name),
                                          static_cast<mode_t>(mode), agents_own()))
      return error;
  auto above = fs::path{config_.data_dir}.parent_path().string();
  if (auto closed = base::first_closed(above, user_.uid, user_.groups))
    return fmt::format("cell.data_dir {}: the user {}, as whom nodes run, cannot pass through {}; "
                       "allow it with: chmod o+x {}",
                       config_.data_dir, user_.name, *closed, *closed);
  struct statvfs mounted {};
  if (::statvfs(config_.data_dir.c_str(), &mounted) == 0 && (mounted.f_flag & ST_NOEXEC) != 0)
    return fmt::format("cell.data_dir {} is mounted with noexec, but each node has a script there "
                       "that starts PostgreSQL; mount it without, or choose another directory",
                       config_.data_dir);
  auto identity = store::identity_in(config_.data_dir);
  if (!identity)
    return identity.error();
  identity_ = *identity;
  auto path = config_.data_dir + "/fence.json";
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
  for (const auto& name : base::names_in(config_.data_dir + "/nodes"))
    load_node(name);
  return close_data_dir();
}

/// Shuts everybody out of the data directory. A node finds its own in its namespace, so no other
/// cell's nodes on this machine can reach it either, although they run as the same user.
std::optional<std::string> agent::close_data_dir() const {
  for (const auto& [id, found] : nodes_)
    if (how_ != fencing::none && found->is == state::starting && !found->record.isolated) {
      spdlog::warn("node {} was started by an older cell: until it is restarted, a superuser of "
                   "another database here can read its files",
                   id);
      return std::nullopt;
    }
  return base::make_directory(config_.data_dir, 0700, agents_own());
}

void agent::load_node(const std::string& name) {
  auto directory = directory_of(name);
  auto text = base::read_file(node_paths{directory}.record);
  if (text && !*text) {
    // The record is written before anything starts: nothing ever ran there.
    if (auto error =
            base::move_durably(directory, fmt::format("{}/trash/{}", config_.data_dir, name)))
      spdlog::error("{}", *error);
    return;
  }
  auto record = text ? parse_node_record(**text) : result<node_record>{failure{text.error()}};
  if (!record || record->request.node_id != name) {
    spdlog::error("the node in {} is left alone, for its record cannot be read: {}", directory,
                  record ? "it is another node's" : record.error());
    left_alone_.insert(name);
    return;
  }
  auto found = std::make_shared<node>(*std::move(record), directory);
  bool alive = found->record.process && base::is_alive(*found->record.process);
  found->is = alive ? state::starting : state::restarting;
  // An agent may end between writing what a node is to read and having it read.
  found->reload_wanted = alive;
  if (auto there = base::read_file(found->paths.certificate, longest_file_of_node); there && *there)
    found->certificate = first_certificate_in(**there);
  if (auto there = base::read_file(found->paths.fleet, longest_file_of_node); there && *there)
    found->authorities = **there;
  if (alive)
    renew_configuration(*found);
  spdlog::info("node {} of {} found {}", name, found->record.request.scope,
               alive ? "running" : "ended");
  nodes_.emplace(name, std::move(found));
}

std::optional<std::string> agent::save_fence() {
  return base::write_durably(config_.data_dir + "/fence.json", fence_.text(), agents_own());
}

std::optional<std::string> agent::save_node(const node& which) {
  return base::write_durably(which.paths.record, text_of(which.record), agents_own());
}

claimant agent::self() const {
  return claimant_of(config_, identity_);
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
  for (const auto& [id, found] : nodes_) {
    found->started_at = clock::now();
    found->restart_at = clock::now();
    if (fence_.buried(id))
      begin_stopping(found);
  }
  last_tick_ = clock::now();
  begin_guard_check();
  tick();
  bound_logs();
  look_at_postgresql();
  if (!nodes_.empty())
    judge_own();
}

/// The start has done it where there were no nodes: those are not left alone for a wrong setting.
void agent::judge_own() {
  judge_.ask(own_settings(config_), [this](const result<settings_judge::judgement>& came) {
    if (came)
      for (const auto& words : own_faults(config_, came->faults))
        spdlog::error("what runs here is looked after, and new nodes do not start: {}", words);
  });
}

// -- requests -------------------------------------------------------------------------------------

http::service agent::service() {
  auto serve_if_there =
      life_.guard([this](const http::request& asked, const reply& to) { serve(asked, to); });
  return {[expected = expected_authorization_](const http::request& asked) {
            return admit(asked, expected);
          },
          [serve_if_there, &loop = loop_](http::request asked, http::responder responder) {
            auto to = std::make_shared<http::responder>(std::move(responder));
            loop.post(
                [serve_if_there, to, asked = std::move(asked)] { serve_if_there(asked, to); });
          }};
}

http::admission agent::admit(const http::request& asked, const std::string& expected) {
  const auto* given = asked.header("authorization");
  if (given && given->size() == expected.size()
      && CRYPTO_memcmp(given->data(), expected.data(), given->size()) == 0)
    return {std::nullopt, "broker"};
  if (is_health(asked))
    return {};
  auto refused = answer(401, "the cell's user name and password are needed");
  refused.headers.emplace_back("WWW-Authenticate", "Basic realm=\"matriarch cell\"");
  return {std::move(refused), {}};
}

bool agent::is_health(const http::request& asked) {
  return asked.segments.size() == 1 && asked.segments[0] == "healthz";
}

void agent::serve(const http::request& asked, const reply& to) {
  using http::method;
  const auto& path = asked.segments;
  if (is_health(asked)) {
    if (asked.verb != method::get && asked.verb != method::head)
      return to->send(answer(405, "healthz can only be read, with GET"));
    return to->send(health());
  }
  if (path.size() == 2 && path[0] == "v2" && path[1] == "postgresql")
    return judge_settings(asked, to);
  if (path.size() < 2 || path.size() > 4 || path[0] != "v2" || path[1] != "service_instances"
      || (path.size() == 4 && path[3] != "key" && path[3] != "certificate"
          && path[3] != "sessions"))
    return to->send(answer(404, "there is nothing here; see GET /healthz and "
                                "GET /v2/service_instances"));
  if (path.size() == 2) {
    if (asked.verb != method::get)
      return to->send(answer(405, "the list of nodes can only be read, with GET"));
    return to->send(listing());
  }
  if (path.size() == 4) {
    if (asked.verb != method::put)
      return to->send(answer(405, "a node's key is made, its certificate handed over, and its "
                                  "sessions are ended, by PUT"));
    if (path[3] == "sessions")
      return end_sessions(path[2], asked, to);
    return path[3] == "key" ? make_key(path[2], asked, to) : take_certificate(path[2], asked, to);
  }
  if (asked.verb == method::put)
    return provision(path[2], asked, to);
  if (asked.verb == method::del)
    return deprovision(path[2], asked, to);
  to->send(answer(405, "a node is made with PUT and removed with DELETE"));
}

/// Which PostgreSQL is here, and, by PUT, which plans it does not start with. Nothing is changed.
void agent::judge_settings(const http::request& asked, const reply& to) {
  if (asked.verb != http::method::get && asked.verb != http::method::put)
    return to->send(answer(405,
                           "PostgreSQL is looked at with GET, and compared with the settings of "
                           "plans by PUT"));
  bool compares = asked.verb == http::method::put;
  auto plans = compares ? parse_plans(asked.body) : plans_parameters{};
  if (!plans)
    return to->send(answer(400, plans.error()));
  judge_.ask(*std::move(plans), [to, compares](const result<settings_judge::judgement>& came) {
    if (!came)
      return to->send(answer(503, came.error()));
    http::response made;
    made.body = compares ? text_of(came->has, came->faults, came->unjudged) : text_of(came->has);
    to->send(std::move(made));
  });
}

http::response agent::health() const {
  json::document body;
  body.SetObject();
  json::add(body, "status", guard_ == guard_state::refused ? "degraded" : "ok", body);
  json::add(body, "guid", config_.guid, body);
  json::add(body, "availability_zone", config_.availability_zone, body);
  json::add(body, "nodes", static_cast<std::int64_t>(nodes_.size()), body);
  json::add(body, "capacity", static_cast<std::int64_t>(config_.capacity), body);
  // What the broker shows of this cell: where no leader can be fenced that is more than a detail.
  json::add(body, "fencing",
            std::string{name_of(how_)} + (guard_ == guard_state::refused ? ", unguarded" : ""),
            body);
  if (guard_ == guard_state::refused)
    json::add(body, "guard", guard_refusal_, body);
  json::add(body, "patroni_tls", true, body); // earlier agents cannot do it
  json::add(body, "isolation", how_ == fencing::none ? "none" : "mount-namespace", body);
  if (!judge_.version().empty())
    json::add(body, "postgresql", judge_.version(), body);
  json::add(body, "etcd", announcer_.reachable() ? "reachable" : "unreachable", body);
  http::response made;
  made.body = json::text_of(body);
  return made;
}

std::string_view agent::word_for(state is) {
  switch (is) {
  case state::starting:
    return "starting";
  case state::running:
    return "running";
  case state::restarting:
    return "restarting";
  case state::stopping:
    break;
  }
  return "stopping";
}

http::response agent::listing() const {
  json::document body;
  body.SetObject();
  json::value nodes{rapidjson::kArrayType};
  for (const auto& [id, which] : nodes_) {
    const auto& request = which->record.request;
    json::value entry{rapidjson::kObjectType};
    json::add(entry, "node_id", id, body);
    json::add(entry, "scope", request.scope, body);
    json::add(entry, "service_id", request.service_id, body);
    json::add(entry, "plan_id", request.plan_id, body);
    json::add(entry, "state", word_for(which->is), body);
    json::add(entry, "certificate", which->certificate.empty() ? "none" : which->certificate, body);
    json::add(entry, "patroni_tls", which->record.api_tls, body);
    add_whereabouts(entry, *which, body);
    nodes.PushBack(entry, body.GetAllocator());
  }
  json::add(body, "nodes", std::move(nodes), body);
  http::response made;
  made.body = json::text_of(body);
  return made;
}

/// Where a node is, and how it can be recognised there. Nobody connects with less from then on, so
/// that is said only of what certainly shows its certificate.
void agent::add_whereabouts(json::value& into, const node& of, json::document& owner) const {
  json::add(into, "host", of.record.where.host, owner);
  json::add(into, "port", of.record.where.port, owner);
  json::add(into, "api_port", of.record.where.api_port, owner);
  json::add(into, "certified", of.speaks_tls && config_.postgresql.tls.certificate.empty(), owner);
  json::add(into, "api_certified", of.speaks_tls, owner);
}

http::response agent::whereabouts(int status, const node& of) const {
  json::document body;
  body.SetObject();
  add_whereabouts(body, of, body);
  http::response made;
  made.status = status;
  made.body = json::text_of(body);
  return made;
}

std::optional<endpoint> agent::free_endpoint() const {
  std::set<std::string> taken;
  for (const auto& [id, which] : nodes_)
    taken.insert(name_of(which->record.where));
  for (const auto& [id, waiting] : pending_)
    taken.insert(name_of(waiting.where));
  return choose_endpoint(
      config_.endpoints, taken, fence_.resting(), wall_milliseconds(), [](const endpoint& where) {
        return can_listen(where.host, where.port) && can_listen(where.host, where.api_port);
      });
}

http::response agent::full() const {
  return answer(422,
                fmt::format("the cell {} is full: it has {} nodes and a capacity of {}",
                            config_.guid, nodes_.size(), config_.capacity),
                "CapacityExceeded");
}

http::response agent::no_address_left() const {
  return answer(422,
                fmt::format("the cell {} has no address left: it has {} nodes and {} addresses, of "
                            "which others may hold some",
                            config_.guid, nodes_.size(), config_.endpoints.size()),
                "CapacityExceeded");
}

void agent::provision(const std::string& node_id, const http::request& asked, const reply& to) {
  if (!is_node_id(node_id))
    return to->send(
        answer(400, fmt::format("a node's id is 1 to {} letters, digits, '_', '-', '.' or "
                                "'~', and does not start with a dot",
                                longest_node_id)));
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto wanted = parse_node_request(node_id, asked.body);
  if (!wanted)
    return to->send(answer(400, wanted.error()));
  if (!claim->scope.empty() && claim->scope != wanted->scope)
    return to->send(answer(400, "the header X-Matriarch-Scope is not the body's PATRONI_SCOPE"));
  claim->scope = wanted->scope;
  if (auto refusal = fence_.refusal_of(*claim))
    return to->send(answer(412, *refusal, "StaleRequest"));
  if (fence_.buried(node_id))
    return to->send(answer(410, fmt::format("the node {} was removed from this cell; node ids are "
                                            "used once",
                                            node_id)));
  if (left_alone_.contains(node_id))
    return to->send(answer(409, cannot_be_read(node_id)));
  if (auto known = nodes_.find(node_id); known != nodes_.end())
    return provision_again(known->second, *wanted, *claim, to);
  if (guard_ == guard_state::unknown)
    return waiting_for_guard_.push_back(
        life_.guard([this, node_id, asked, to] { provision(node_id, asked, to); }));
  if (guard_ == guard_state::refused)
    return to->send(
        answer(422, fmt::format("the cell {} starts no nodes: {}", config_.guid, guard_refusal_),
               "Unguarded"));
  if (nodes_.size() >= config_.capacity)
    return to->send(full());
  auto waiting = pending_.extract(node_id);
  auto where = waiting ? std::optional{waiting.mapped().where} : free_endpoint();
  if (!where)
    return to->send(no_address_left());

  fence_.note(*claim);
  fence_.occupy(*where);
  if (auto error = save_fence())
    return to->send(answer(500, *error));
  auto made = std::make_shared<node>(node_record{*std::move(wanted), *where, std::nullopt, how_},
                                     directory_of(node_id));
  auto error = base::make_directory(made->paths.directory, 0711, agents_own());
  if (!error && waiting && !waiting.mapped().certificate.empty())
    error = install(*made, waiting.mapped());
  if (!error)
    error = save_node(*made);
  if (error) {
    spdlog::error("node {} cannot be made: {}", node_id, *error);
    return to->send(answer(500, *error));
  }
  nodes_.emplace(node_id, made);
  launch_node(made);
  to->send(whereabouts(201, *made));
}

void agent::provision_again(const node_ptr& known, const node_request& wanted,
                            const fencing_claim& claim, const reply& to) {
  const auto& request = known->record.request;
  if (wanted.scope != request.scope || wanted.plan_id != request.plan_id
      || wanted.service_id != request.service_id)
    return to->send(
        answer(409, fmt::format("the node {} is here already, with another scope or plan",
                                request.node_id)));
  if (fence_.note(claim))
    if (auto error = save_fence())
      return to->send(answer(500, *error));
  if (known->is == state::restarting)
    launch_node(known);
  to->send(whereabouts(200, *known));
}

void agent::deprovision(const std::string& node_id, const http::request& asked, const reply& to) {
  if (!is_node_id(node_id))
    return to->send(answer(410, "there can be no node of that id"));
  // A cell is a service broker too, and a removal ends data: it says what it means.
  for (const char* name : {"service_id", "plan_id"})
    if (const auto* given = asked.query_value(name); given == nullptr || given->empty())
      return to->send(answer(400, fmt::format("{} is missing in the query", name)));
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto found = nodes_.find(node_id);
  auto known = found == nodes_.end() ? nullptr : found->second;
  if (known) {
    const auto& scope = known->record.request.scope;
    if (!claim->scope.empty() && claim->scope != scope)
      return to->send(answer(400, fmt::format("the node {} belongs to the scope {}, not to {}",
                                              node_id, scope, claim->scope)));
    claim->scope = scope;
  }
  if (auto refusal = fence_.refusal_of(*claim))
    return to->send(answer(412, *refusal, "StaleRequest"));
  bool changed = fence_.note(*claim);
  if (!fence_.buried(node_id)) {
    auto now = wall_milliseconds();
    fence_.forget_old(now, scopes_here());
    fence_.bury(node_id, now);
    if (known)
      fence_.rest(known->record.where, now);
    changed = true;
  }
  if (changed)
    if (auto error = save_fence())
      return to->send(answer(500, *error));
  if (left_alone_.contains(node_id))
    return to->send(answer(500, cannot_be_read(node_id)));
  if (!known)
    return to->send(answer(410, fmt::format("there is no node {} here", node_id)));
  known->waiters.push_back({to, clock::now() + longest_answer});
  if (known->is != state::stopping)
    begin_stopping(known);
}

std::set<std::string> agent::scopes_here() const {
  std::set<std::string> all;
  for (const auto& [id, one] : nodes_)
    all.insert(one->record.request.scope);
  return all;
}

std::vector<pid_t> agent::processes_of(const node& which) const {
  if (!which.record.process)
    return {};
  return which.record.kept_by == fencing::none ? processes_below(which.paths.directory, user_.uid)
                                               : processes_beside(*which.record.process);
}

/// For roles that may not log in any more, where PostgreSQL does not know that, or nobody gets in to end
/// what they have open. What they open is ended for a while: until the broker gets in, or asks again.
void agent::end_sessions(const std::string& node_id, const http::request& asked, const reply& to) {
  auto claim = claim_of(asked);
  if (!claim)
    return to->send(answer(400, claim.error()));
  auto body = json::parse(asked.body);
  const auto* listed = body ? json::member(*body, "roles") : nullptr;
  if (listed == nullptr || !listed->IsArray() || listed->Empty())
    return to->send(answer(400, "the body needs roles, an array of names"));
  std::set<std::string> roles;
  for (const auto& one : listed->GetArray()) {
    if (!one.IsString()
        || !is_role_of_binding(std::string_view{one.GetString(), one.GetStringLength()}))
      return to->send(answer(
          400, fmt::format("roles has a name that is no binding's: each begins with {} and has "
                           "small letters, digits and underscores",
                           role_of_binding)));
    roles.emplace(one.GetString(), one.GetStringLength());
  }
  auto found = nodes_.find(node_id);
  if (found == nodes_.end())
    return to->send(answer(410, fmt::format("there is no node {} here", node_id)));
  auto& which = *found->second;
  const auto& scope = which.record.request.scope;
  if (!claim->scope.empty() && claim->scope != scope)
    return to->send(answer(
        400, fmt::format("the node {} belongs to {}, not to {}", node_id, scope, claim->scope)));
  claim->scope = scope;
  if (auto refusal = fence_.refusal_of(*claim))
    return to->send(answer(412, *refusal, "StaleRequest"));
  which.kept_out.merge(roles);
  // A full disk keeps nothing of this from being done but the file.
  auto error = which.refused == which.kept_out ? std::nullopt : refuse(which);
  which.often_until = clock::now() + looked_often;
  if (std::exchange(which.keep_out_until, clock::now() + longest_kept_out) == clock::time_point{}) {
    spdlog::info("node {}: revoked roles are refused by pg_hba.conf, and their sessions end",
                 node_id);
    keep_out(found->second);
  }
  to->send(error ? answer(500, *error) : answer(200));
}

/// PostgreSQL itself lets none of these in who connects from now on. They stay in the file until others
/// come: no binding gets a name that another one had.
std::optional<std::string> agent::refuse(node& which) const {
  auto lines = fmt::format("{}\n", fmt::join(which.kept_out, "\n"));
  if (auto error = base::replace_file(which.paths.refused, lines, nodes_own()))
    return error;
  which.refused = which.kept_out;
  reload_postgresql(processes_of(which));
  return std::nullopt;
}

void agent::keep_out(const node_ptr& which) {
  (void)end_backends(processes_of(*which), which->record.request.scope, which->kept_out);
  auto now = clock::now();
  if (now < which->keep_out_until) {
    auto pause = now < which->often_until ? short_keep_out_pause : keep_out_pause;
    loop_.after(pause, life_.guard([this, which] { keep_out(which); }));
    return;
  }
  which->kept_out.clear();
  which->keep_out_until = {};
}

// -- whether Patroni is one that can be guarded ---------------------------------------------------

std::vector<std::string> agent::environment_of(const std::string& home,
                                               const std::string& python) const {
  return {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + home, "PYTHONPATH=" + python};
}

void agent::limit_view(launch& what, const std::string& own) const {
  auto view = view_of_node(real_path(config_.data_dir),
                           {config_.patroni.executable, config_.postgresql.bin_dir});
  what.hidden = std::move(view.around_own);
  what.covered = std::move(view.covered);
  what.shown = real_path(own);
}

/// Python lists the directory and reads what is in it.
std::optional<std::string> agent::write_guard(const std::string& directory) const {
  if (auto error = base::make_directory(directory, 0750, shown_to_nodes()))
    return error;
  if (auto error = base::replace_file(directory + "/" + rest_limits_module + ".py",
                                      rest_limits_text(), nodes_own()))
    return error;
  return base::replace_file(directory + "/sitecustomize.py",
                            lock_guard_text() + "\n\nimport " + rest_limits_module + "\n",
                            nodes_own());
}

/// Runs Patroni as a node does, to the point where it has loaded what the guard changes.
void agent::begin_guard_check() {
  guard_check_at_ = clock::now() + longest_guard_check;
  auto directory = config_.data_dir + "/guard";
  auto python = directory + "/python";
  auto failed = base::make_directory(directory, 0711, agents_own());
  if (!failed)
    failed = write_guard(python);
  if (!failed)
    failed = base::replace_file(directory + "/log", "", agents_own());
  if (failed)
    return settle_guard(*failed);
  launch what;
  what.arguments = {config_.patroni.executable, "--version"};
  what.environment = environment_of("/", python);
  what.environment.push_back(fmt::format("{}=1", lock_guard_check));
  what.directory = "/";
  what.log = directory + "/log";
  what.user = user_;
  what.how = how_;
  limit_view(what, directory);
  // It starts nothing and writes nothing: a later agent need not know of it.
  auto started = start_process(what, [](const base::process_identity&) { return true; });
  if (!started)
    return settle_guard(started.error());
  guard_check_ = *started;
}

void agent::go_on_checking_guard() {
  auto now = clock::now();
  if (!guard_check_) {
    if (guard_ == guard_state::refused && now >= guard_check_at_)
      begin_guard_check();
    return;
  }
  if (base::is_alive(*guard_check_)) {
    if (now >= guard_check_at_)
      base::signal_process(*guard_check_, SIGKILL);
    return;
  }
  auto how = reap(*guard_check_);
  guard_check_.reset();
  if (how == fmt::format("exit code {}", lock_guard_holds))
    return settle_guard(std::nullopt);
  auto said = base::read_file(config_.data_dir + "/guard/log");
  auto words = said && *said ? **said : std::string{};
  words = words.substr(0, words.find('\n'));
  if (how != fmt::format("exit code {}", lock_guard_refused))
    words = fmt::format("{} does not load the guard of the leader's key ({}{}{})",
                        config_.patroni.executable, how.value_or("it ended"),
                        words.empty() ? "" : ": ", words);
  settle_guard(words);
}

void agent::settle_guard(std::optional<std::string> refusal) {
  auto before = guard_;
  guard_ = refusal ? guard_state::refused : guard_state::holds;
  guard_refusal_ = std::move(refusal).value_or("");
  guard_check_at_ = clock::now() + guard_check_pause;
  if (guard_ == guard_state::refused && before != guard_)
    spdlog::error("no nodes are started: {}", guard_refusal_);
  else if (guard_ == guard_state::holds && before == guard_state::refused)
    spdlog::info("nodes are started again: this Patroni can be guarded");
  for (const auto& go_on : std::exchange(waiting_for_guard_, {}))
    go_on();
}

// -- certificates ---------------------------------------------------------------------------------

/// Whether a request about a node's certificate is refused, and for that reason.
std::optional<http::response> agent::refuse_certificate(const std::string& node_id,
                                                        const http::request& asked) const {
  if (!is_node_id(node_id))
    return answer(400, "there can be no node of that id");
  auto claim = claim_of(asked);
  if (!claim)
    return answer(400, claim.error());
  if (auto refusal = fence_.refusal_of(*claim))
    return answer(412, *refusal, "StaleRequest");
  if (fence_.buried(node_id))
    return answer(410, fmt::format("the node {} was removed from this cell", node_id));
  return std::nullopt;
}

/// Makes a key for a node, which may be still to come: its address is decided with it, for the
/// certificate names it. Nothing is started, and what is not used is forgotten.
void agent::make_key(const std::string& node_id, const http::request& asked, const reply& to) {
  if (auto refused = refuse_certificate(node_id, asked))
    return to->send(*std::move(refused));
  auto now = clock::now();
  std::erase_if(pending_, [&](const auto& one) { return one.second.until <= now; });
  pending_.erase(node_id);
  auto known = nodes_.find(node_id);
  if (known == nodes_.end() && nodes_.size() + pending_.size() >= config_.capacity)
    return to->send(full());
  auto where = known == nodes_.end() ? free_endpoint() : std::optional{known->second->record.where};
  if (!where)
    return to->send(no_address_left());
  auto key = tls::make_key();
  auto request = key ? tls::make_request(*key) : key;
  if (!request)
    return to->send(answer(500, request.error()));
  pending_[node_id] = {*std::move(key), *where, now + key_waits, "", ""};
  json::document body;
  body.SetObject();
  json::add(body, "certificate_request", *request, body);
  json::add(body, "host", where->host, body);
  http::response made;
  made.body = json::text_of(body);
  to->send(std::move(made));
}

void agent::take_certificate(const std::string& node_id, const http::request& asked,
                             const reply& to) {
  if (auto refused = refuse_certificate(node_id, asked))
    return to->send(*std::move(refused));
  auto waiting = pending_.find(node_id);
  if (waiting == pending_.end())
    return to->send(answer(409, fmt::format("no key of the node {} waits for a certificate; have "
                                            "one made first, with PUT …/key",
                                            node_id)));
  auto body = json::parse(asked.body);
  auto certificate = body ? json::string_member(*body, "certificate") : std::string{};
  auto authorities = body ? json::string_member(*body, "authorities") : std::string{};
  if (!tls::belong_together({waiting->second.key, certificate}))
    return to->send(answer(400, "the body needs a certificate, in PEM, of the key that was made "
                                "here last for this node"));
  waiting->second.certificate = std::move(certificate);
  waiting->second.authorities = std::move(authorities);
  const auto* patroni_too = json::member(*body, "patroni_tls");
  waiting->second.patroni_tls =
      patroni_too != nullptr && patroni_too->IsBool() && patroni_too->GetBool();
  auto known = nodes_.find(node_id);
  if (known == nodes_.end())
    return to->send(answer(200)); // the node is about to come
  auto& which = *known->second;
  auto error = install(which, waiting->second);
  pending_.erase(waiting);
  if (!error)
    error = save_node(which);
  if (!error)
    error = write_configuration(which);
  if (error) {
    spdlog::error("node {}: {}", node_id, *error);
    return to->send(answer(500, *error));
  }
  which.reload_wanted = true;
  which.probe_at = clock::now();
  spdlog::info("node {} has a new certificate", node_id);
  to->send(answer(200));
}

/// Writes a key and its certificate down for the node, which shows them from its next start or reload
/// on. Until then it shows the ones of before: whose those are stays known.
std::optional<std::string> agent::install(node& which, const pending_certificate& what) const {
  auto authorities = what.authorities;
  for (const auto& before : tls::certificates_in(which.authorities))
    if (authorities.find(before) == std::string::npos
        && tls::is_signed_by(which.certificate, before))
      authorities += before;
  if (auto error = base::replace_file(which.paths.fleet, authorities, nodes_own()))
    return error;
  if (auto error =
          base::replace_file(which.paths.certificate, what.certificate + what.key, nodes_own()))
    return error;
  which.certificate = first_certificate_in(what.certificate);
  which.authorities = std::move(authorities);
  which.record.api_tls = which.record.api_tls || what.patroni_tls;
  return std::nullopt;
}

/// Whether Patroni is made to show it, from its next start or reload on.
bool agent::shows_certificate(const node& which) {
  return which.record.api_tls && !which.authorities.empty();
}

/// Has Patroni read its configuration, and PostgreSQL its own and its certificate. Neither ends a
/// connection. By a signal: no password leaves the agent, and nobody else can be at the address.
/// Patroni, once it has answered, has set its handlers.
void agent::reload(const node_ptr& which) {
  which->reload_wanted = false;
  if (which->record.process)
    base::signal_process(*which->record.process, SIGHUP);
}

// -- a node's life --------------------------------------------------------------------------------

std::string agent::registrar_key(const node& which) const {
  return fmt::format("{}{}:cf-{}:{}", store::keys::registrar, hostname_,
                     which.record.request.node_id, which.record.where.port);
}

/// The keys and the certificates that a node shows: the operator's as they are now, if there are any
/// for PostgreSQL, and what the node has, or, so that clients can encrypt, one that nobody can check.
std::optional<std::string> agent::write_certificate(node& which) const {
  const auto& tls = config_.postgresql.tls;
  const auto& paths = which.paths;
  if (!tls.authority.empty())
    if (auto error = copy_file(tls.authority, paths.authority))
      return error;
  if (!tls.certificate.empty()) {
    auto certificate = text_in(tls.certificate);
    if (!certificate)
      return certificate.error();
    auto key = text_in(tls.key);
    if (!key)
      return key.error();
    // A file need not end with a line's end, and a PEM block has to begin on a line of its own.
    if (auto error = base::replace_file(paths.operators, *certificate + "\n" + *key, nodes_own()))
      return error;
  }
  auto there = base::read_file(paths.certificate, longest_file_of_node);
  if (!there)
    return there.error();
  if (*there) {
    which.certificate = first_certificate_in(**there);
    return std::nullopt;
  }
  auto now = model::wall_time{milliseconds{wall_milliseconds()}};
  auto made = tls::make_unchecked({which.record.request.node_id, {which.record.where.host}},
                                  {now - backdated, now + unchecked_life});
  if (!made)
    return made.error();
  which.certificate = made->certificate;
  return base::replace_file(paths.certificate, made->certificate + made->key, nodes_own());
}

/// What Patroni needs to speak TLS with etcd: copies, for it runs as another user and may see no
/// other directory of the operator's.
std::optional<std::string> agent::write_etcd_files(const node& which) const {
  const auto& etcd = config_.etcd;
  const auto& paths = which.paths;
  for (const auto& [from, to] : {std::pair{&etcd.tls_authority, &paths.etcd_authority},
                                 {&etcd.tls_certificate, &paths.etcd_certificate},
                                 {&etcd.tls_key, &paths.etcd_key}})
    if (!from->empty())
      if (auto error = copy_file(*from, *to))
        return error;
  return std::nullopt;
}

std::optional<std::string> agent::copy_file(const std::string& from, const std::string& to) const {
  auto text = text_in(from);
  if (!text)
    return text.error();
  return base::replace_file(to, *text, nodes_own());
}

/// The node's own view of PostgreSQL's programs. They belong to the agent: a database's superuser
/// must not replace what is started next.
std::optional<std::string> agent::write_programs(const node& which) const {
  const auto& directory = which.paths.programs;
  if (auto error = base::make_directory(directory, 0750, shown_to_nodes()))
    return error;
  std::error_code error;
  for (const auto& name : base::names_in(config_.postgresql.bin_dir)) {
    auto link = fs::path{directory} / name;
    auto target = fs::path{config_.postgresql.bin_dir} / name;
    std::error_code none_yet;
    if (name == "postgres" || fs::read_symlink(link, none_yet) == target)
      continue;
    fs::remove(link, error);
    fs::create_symlink(target, link, error);
    if (error)
      return fmt::format("cannot make {}: {}", link.string(), error.message());
  }
  auto script = directory + "/postgres";
  if (auto failed =
          base::replace_file(script, render_postgres_script(config_, which.paths), agents_own()))
    return failed;
  fs::permissions(script, fs::perms{0755}, error);
  if (error)
    return fmt::format("cannot make {} executable: {}", script, error.message());
  return std::nullopt;
}

std::optional<std::string> agent::write_configuration(node& which) const {
  if (auto error = write_certificate(which))
    return error;
  if (auto error = write_etcd_files(which))
    return error;
  auto text = render_patroni(config_, which.record, which.paths, !which.authorities.empty());
  return base::replace_file(which.paths.patroni, text, nodes_own());
}

/// PostgreSQL does not start, and reads nothing again, while a file that pg_hba.conf names is missing.
/// What a file has that is there stays refused.
std::optional<std::string> agent::make_refused(const node& which) const {
  auto there = base::read_file(which.paths.refused, longest_file_of_node);
  if (!there)
    return there.error();
  return *there ? std::nullopt : base::replace_file(which.paths.refused, "", nodes_own());
}

std::optional<std::string> agent::write_files(node& which) const {
  const auto& paths = which.paths;
  const auto& record = which.record;
  for (const auto& directory : {paths.home, paths.run})
    if (auto error = base::make_directory(directory, 0700, nodes_own()))
      return error;
  if (auto error = write_guard(paths.python))
    return error;
  if (auto error = write_programs(which))
    return error;
  if (auto error = make_refused(which))
    return error;
  if (auto error = write_configuration(which))
    return error;
  if (auto error = base::replace_file(paths.bootstrap_sql, render_bootstrap_sql(record.request),
                                      nodes_own()))
    return error;
  return base::replace_file(paths.bootstrap_script, render_bootstrap_script(config_, paths),
                            nodes_own());
}

/// A node that ended in the middle of its copy of the leader has data that nothing starts with, and
/// Patroni leaves what it finds alone. pg_basebackup writes the label first and pg_control last; data
/// that ever was a cluster's has no label, or both.
std::optional<std::string> agent::discard_half_a_copy(const node& which) {
  const auto& data = which.paths.data;
  std::error_code unknown;
  if (!std::filesystem::exists(data + "/backup_label", unknown)
      || std::filesystem::exists(data + "/global/pg_control", unknown) || unknown)
    return std::nullopt;
  const auto& id = which.record.request.node_id;
  spdlog::info("node {}: it ended in the middle of its copy, and begins anew", id);
  auto trash = fmt::format("{}/trash/{}-{}", config_.data_dir, id, wall_milliseconds());
  if (auto error = base::move_durably(data, trash))
    return error;
  remover_.remove(trash, [id](const std::optional<std::string>& error) {
    if (error)
      spdlog::warn("node {}: {}; what is left goes at the agent's next start", id, *error);
  });
  return std::nullopt;
}

void agent::launch_node(const node_ptr& which) {
  auto& record = which->record;
  // Not even one that ran here before: it would lead as if nobody had led since.
  if (guard_ != guard_state::holds) {
    which->is = state::restarting;
    which->restart_at = clock::now();
    return;
  }
  which->started_at = clock::now();
  // Patroni never starts PostgreSQL as a leader before it answers.
  which->may_lead = false;
  which->silent = false;
  // Nothing of an earlier start may still write into the data directory.
  if (auto left = kill_leftovers(*which); left > 0) {
    spdlog::warn("node {}: killed {} processes that an earlier start had left behind",
                 record.request.node_id, left);
    return ended(which);
  }
  record.kept_by = how_;
  record.isolated = how_ != fencing::none;
  which->asked_by_tls = which->speaks_tls = shows_certificate(*which);
  auto failed = discard_half_a_copy(*which);
  if (!failed)
    failed = write_files(*which);
  if (!failed) {
    launch what;
    what.arguments = {config_.patroni.executable, which->paths.patroni};
    what.environment = environment_of(which->paths.home, which->paths.python);
    what.directory = which->paths.home;
    what.log = which->paths.log;
    what.user = user_;
    what.how = how_;
    limit_view(what, which->paths.directory);
    auto started = start_process(what, [&](const base::process_identity& identity) {
      record.process = identity;
      auto error = save_node(*which);
      if (error)
        spdlog::error("{}", *error);
      return !error;
    });
    if (!started)
      failed = started.error();
  }
  if (failed) {
    spdlog::error("node {} cannot be started: {}", record.request.node_id, *failed);
    return ended(which);
  }
  which->is = state::starting;
  which->probe_at = clock::now() + probe_pause_starting;
  spdlog::info("node {} of {} started on {}, process {}", record.request.node_id,
               record.request.scope, name_of(record.where), record.process->pid);
}

/// A node outlives its agent, and may have files as an earlier one made them. Patroni reads its
/// configuration once it is told to, and writes pg_hba.conf from it. Of a node without a certificate
/// all else stays as it is until it gets one.
void agent::renew_configuration(node& which) const {
  const auto& id = which.record.request.node_id;
  auto text = base::read_file(which.paths.patroni, longest_file_of_node);
  if (!text || !*text)
    return spdlog::error("node {}: cannot read {}", id, which.paths.patroni);
  which.asked_by_tls = speaks_tls(**text);
  if (auto error = make_refused(which))
    return spdlog::error("node {}: {}", id, *error);
  if (!which.authorities.empty()) {
    if (auto error = write_configuration(which))
      spdlog::error("node {}: {}", id, *error);
    return;
  }
  auto renewed =
      with_access_rules(**text, access_rules(config_, which.record.request, which.paths));
  if (!renewed)
    return spdlog::error("node {}: {} is of another form, and is left as it is", id,
                         which.paths.patroni);
  if (*renewed == **text)
    return;
  if (auto error = base::replace_file(which.paths.patroni, *renewed, nodes_own()))
    return spdlog::error("node {}: {}", id, *error);
  spdlog::info("node {}: its pg_hba.conf is brought up to date", id);
}

void agent::ended(const node_ptr& which) {
  auto lived = std::chrono::duration_cast<milliseconds>(clock::now() - which->started_at);
  auto pause = which->pause.next(lived);
  which->is = state::restarting;
  which->restart_at = clock::now() + pause;
  announcer_.remove(registrar_key(*which), [] {});
  spdlog::warn("node {} is started again in {} ms", which->record.request.node_id, pause.count());
}

void agent::probe(const node_ptr& which) {
  which->probing = true;
  ask(which, false);
}

/// While a reload is under way nobody can tell whether Patroni speaks TLS already.
void agent::ask(const node_ptr& which, bool again) {
  auto by_tls = which->asked_by_tls;
  base::outgoing question;
  question.url = fmt::format("{}://{}:{}/patroni", by_tls ? "https" : "http",
                             which->record.where.host, which->record.where.api_port);
  question.tls.authority_text = which->authorities;
  question.timeout = seconds{2};
  question.max_answer_bytes = 64 * 1024;
  loop_.send(std::move(question),
             life_.guard([this, which, again, by_tls](const base::outcome& answer) {
               if (answer.status != 0 && by_tls)
                 which->speaks_tls = true;
               if (answer.status == 0 && shows_certificate(*which)) {
                 which->asked_by_tls = !by_tls;
                 if (!again)
                   return ask(which, true);
               }
               probed(which, answer);
             }));
}

void agent::probed(const node_ptr& which, const base::outcome& answer) {
  which->probing = false;
  if (answer.status != 0 && which->reload_wanted)
    reload(which);
  bool runs = false;
  if (answer.status == 0)
    which->silent = true;
  else if (auto body = json::parse(answer.body)) {
    runs = json::string_member(*body, "state") == "running";
    which->silent = false;
    // While it recovers its role is still what it was before it crashed.
    which->may_lead = runs && json::string_member(*body, "role") != "replica";
  }
  if (which->is == state::starting && runs) {
    which->is = state::running;
    announcer_.put(registrar_key(*which), name_of(which->record.where));
    spdlog::info("node {} runs", which->record.request.node_id);
  } else if (which->is == state::running && answer.status != 0 && !runs) {
    which->is = state::starting;
    announcer_.remove(registrar_key(*which), [] {});
    spdlog::warn("node {}: PostgreSQL does not run; Patroni is taking care of it",
                 which->record.request.node_id);
  }
  which->probe_at = clock::now()
                    + (which->is == state::starting ? probe_pause_starting
                       : which->may_lead            ? probe_pause_leading
                                                    : probe_pause_running);
}

/// Fences a leader that does not answer: once another one leads, it is killed, for as soon as it went
/// on it would take writes that its successor never gets, until its Patroni has seen what happened.
/// When it is started again it follows, by pg_rewind if need be.
void agent::kill_if_replaced(const node_ptr& which) {
  if (std::exchange(which->asking_who_leads, true))
    return;
  const auto& request = which->record.request;
  if (!which->etcd) {
    auto access = store::access_of(config_.etcd);
    if (!request.etcd.username.empty()) {
      access.username = request.etcd.username;
      access.password = request.etcd.password;
    }
    which->etcd = std::make_unique<store::etcd_client>(loop_, std::move(access));
  }
  which->etcd->range(
      {store::keys::leader(request.scope), {}},
      life_.guard([this, which](const store::range_result& read) {
        which->asking_who_leads = false;
        const auto& id = which->record.request.node_id;
        auto is_up = which->is == state::starting || which->is == state::running;
        if (!read.ok || read.found.empty() || read.found[0].value == id || !which->silent
            || !which->may_lead || !is_up || !which->record.process)
          return;
        spdlog::warn("node {} is killed, for it does not answer and {} leads in its place", id,
                     model::quoted(read.found[0].value));
        which->may_lead = false;
        base::signal_process(*which->record.process, SIGKILL);
      }));
}

void agent::begin_stopping(const node_ptr& which) {
  spdlog::info("node {} is being removed", which->record.request.node_id);
  which->is = state::stopping;
  which->kill_at = clock::now() + clean_stop;
  which->signal_at = clock::now();
  go_on_stopping(which);
}

void agent::go_on_stopping(const node_ptr& which) {
  const auto& process = which->record.process;
  auto now = clock::now();
  if (!which->moved_away) {
    if (process && base::is_alive(*process)) {
      if (now >= which->kill_at) {
        if (!which->killed)
          spdlog::warn("node {} did not stop within {} s; killing it",
                       which->record.request.node_id, clean_stop.count());
        which->killed = true;
        base::signal_process(*process, SIGKILL);
      } else if (now >= which->signal_at) {
        which->signal_at = now + signal_pause;
        base::signal_process(*process, SIGTERM);
      }
    } else {
      if (process)
        (void)reap(*process);
      clear_away(which);
    }
  }
  std::erase_if(which->waiters, [&](const waiter& waiting) {
    if (now < waiting.until)
      return false;
    waiting.to->send(answer(
        503, fmt::format("the node {} is not gone yet: {}; the removal goes on, ask again",
                         which->record.request.node_id,
                         !which->moved_away   ? "its processes are still ending"
                         : !which->files_gone ? "its files are still being removed"
                                              : "etcd cannot be reached to remove its key")));
    return true;
  });
}

/// Kills what outlived the node's first process, which nothing in a namespace can.
std::size_t agent::kill_leftovers(const node& which) const {
  if (!which.record.process || which.record.kept_by != fencing::none)
    return 0;
  return kill_all_below(which.paths.directory, user_.uid);
}

/// The node's first process is gone: removes what is left.
void agent::clear_away(const node_ptr& which) {
  const auto& id = which->record.request.node_id;
  if (kill_leftovers(*which) > 0)
    return; // looks again at the next tick, until none is left
  auto trash = fmt::format("{}/trash/{}", config_.data_dir, id);
  if (auto error = base::move_durably(which->paths.directory, trash)) {
    spdlog::error("node {}: {}", id, *error);
    return;
  }
  which->moved_away = true;
  announcer_.remove(registrar_key(*which), life_.guard([this, which] {
    which->key_gone = true;
    removed_if_done(which);
  }));
  remove_files(which, trash);
}

void agent::remove_files(const node_ptr& which, const std::string& trash) {
  auto finished = life_.guard([this, which, trash](const std::optional<std::string>& error) {
    if (error) {
      spdlog::error("node {}: {}; trying again", which->record.request.node_id, *error);
      loop_.after(removal_pause, life_.guard([this, which, trash] { remove_files(which, trash); }));
      return;
    }
    which->files_gone = true;
    removed_if_done(which);
  });
  remover_.remove(trash, [&loop = loop_, finished](const std::optional<std::string>& error) {
    loop.post([finished, error] { finished(error); });
  });
}

void agent::removed_if_done(const node_ptr& which) {
  if (!which->files_gone || !which->key_gone)
    return;
  spdlog::info("node {} is removed", which->record.request.node_id);
  for (const auto& waiting : which->waiters)
    waiting.to->send(answer(200));
  nodes_.erase(which->record.request.node_id);
}

void agent::look_after(const node_ptr& which) {
  if (which->is == state::stopping)
    return go_on_stopping(which);
  if (which->is == state::restarting) {
    if (clock::now() >= which->restart_at)
      launch_node(which);
    return;
  }
  const auto& process = which->record.process;
  if (!process || !base::is_alive(*process)) {
    auto how = process ? reap(*process) : std::nullopt;
    spdlog::warn("node {} ended{}", which->record.request.node_id,
                 how ? fmt::format(" ({})", *how) : "");
    // Patroni was replaced since it was looked at.
    if (how == fmt::format("exit code {}", lock_guard_refused) && !guard_check_)
      begin_guard_check();
    // At once, for a PostgreSQL that nobody watches goes on taking writes.
    (void)kill_leftovers(*which);
    return ended(which);
  }
  if (which->silent && which->may_lead)
    kill_if_replaced(which);
  if (!which->probing && clock::now() >= which->probe_at)
    probe(which);
}

void agent::tick() {
  loop_.after(tick_pause, life_.guard([this] { tick(); }));
  auto now = clock::now();
  auto stood_still = now - std::exchange(last_tick_, now) > standstill;
  // Looking after a node may remove it from the map.
  auto nodes = nodes_;
  if (stood_still)
    for (const auto& [id, which] : nodes)
      which->silent = true;
  for (const auto& [id, which] : nodes)
    look_after(which);
  go_on_checking_guard();
}

void agent::look_at_postgresql() {
  loop_.after(postgresql_look, life_.guard([this] { look_at_postgresql(); }));
  judge_.look();
}

void agent::bound_logs() {
  loop_.after(log_look, life_.guard([this] { bound_logs(); }));
  for (const auto& [id, which] : nodes_)
    if (which->is != state::stopping)
      base::bound_log(which->paths.log, longest_log);
}

} // namespace matriarch::cell
