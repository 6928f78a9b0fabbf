#include "engines/postgresql/cell/node.hpp"

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "base/files.hpp"
#include "base/json.hpp"
#include "engines/postgresql/cell/backends.hpp"
#include "engines/postgresql/cell/control_file.hpp"
#include "engines/postgresql/cell/guard_check.hpp"
#include "engines/postgresql/cell/request.hpp"
#include "engines/postgresql/cell/settings.hpp"
#include "store/etcd_access.hpp"
#include "store/keys.hpp"
#include "tls/certificate.hpp"

namespace matriarch::engines::postgresql {

namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A node's own certificate until it gets one of the fleet. Nobody checks its end.
constexpr std::chrono::days unchecked_life{10 * 365};
// Clients' clocks differ.
constexpr std::chrono::days backdated{1};

/// Reads a file that must exist.
result<std::string> text_in(const std::string& path) {
  auto text = base::read_file(path);
  if (!text)
    return failure{text.error()};
  if (!*text)
    return failure{fmt::format("there is no file {}", path)};
  return **std::move(text);
}

std::string first_certificate_of(std::string_view text) {
  auto all = tls::certificates_in(text);
  return all.empty() ? "" : std::move(all.front());
}

cell::node_answer answer_in(const base::outcome& came) {
  cell::node_answer answer;
  answer.answered = came.status != 0;
  auto body = answer.answered ? json::parse(came.body) : result<json::document>{failure{""}};
  if (!body)
    return answer;
  answer.runs = json::string_member(*body, "state") == "running";
  // While PostgreSQL recovers, Patroni still reports the role from before the crash.
  answer.leads = answer.runs && json::string_member(*body, "role") != "replica";
  return answer;
}

} // namespace

postgresql_node::postgresql_node(const cell::cell_config& config, cell::node_driver& driver,
                                 base::event_loop& loop, cell::node_state& state)
    : config_(config), driver_(driver), loop_(loop), state_(state), paths_(state.files.directory) {}

base::owner postgresql_node::nodes_own() const {
  return {driver_.user().uid, driver_.user().gid};
}

/// Whether Patroni is configured to show the fleet's certificate, from its next start or reload on.
bool postgresql_node::shows_certificate() const {
  return state_.record.api_tls && !state_.authorities.empty();
}

cell::engine_node::certified postgresql_node::shows() const {
  return {speaks_tls_ && settings_of(config_).tls.certificate.empty(), speaks_tls_};
}

// -- how the node is started ----------------------------------------------------------------------

cell::program postgresql_node::command() const {
  cell::program what;
  what.arguments = {settings_of(config_).patroni.executable, paths_.patroni};
  what.environment = environment_of(paths_.home, paths_.python);
  what.directory = paths_.home;
  what.log = paths_.log;
  what.own = paths_.directory;
  what.needed = {settings_of(config_).patroni.executable, settings_of(config_).bin_dir};
  return what;
}

std::optional<std::string> postgresql_node::write_files(const discard_function& discard) {
  const auto& paths = paths_;
  asked_by_tls_ = speaks_tls_ = shows_certificate();
  if (auto error = discard_half_a_copy(discard))
    return error;
  for (const auto& directory : {paths.home, paths.run})
    if (auto error = base::make_directory(directory, 0700, nodes_own()))
      return error;
  if (auto error = write_guard(paths.python, driver_.user()))
    return error;
  if (auto error = write_programs())
    return error;
  if (auto error = make_refused())
    return error;
  if (auto error = make_bounds())
    return error;
  if (auto error = write_configuration())
    return error;
  if (auto error = base::replace_file(paths.bootstrap_sql,
                                      render_bootstrap_sql(state_.record.request), nodes_own()))
    return error;
  return base::replace_file(paths.bootstrap_script, render_bootstrap_script(config_, paths),
                            nodes_own());
}

/// Discards an unfinished copy. A node that ended while copying the leader has data with which
/// PostgreSQL does not start, and Patroni does not touch existing data. pg_basebackup writes the
/// label first and pg_control last; complete data has both or no label.
std::optional<std::string>
postgresql_node::discard_half_a_copy(const discard_function& discard) const {
  std::error_code unknown;
  if (!fs::exists(paths_.data + "/backup_label", unknown)
      || fs::exists(paths_.data + "/global/pg_control", unknown) || unknown)
    return std::nullopt;
  spdlog::info("node {}: it ended in the middle of its copy; copying again", state_.id());
  return discard(paths_.data);
}

/// Writes the certificates and keys that a node shows: the operator's present ones for PostgreSQL,
/// if configured, and the node's own. If there is none, makes one that nobody can check, so that
/// clients can encrypt.
std::optional<std::string> postgresql_node::write_certificate() {
  const auto& tls = settings_of(config_).tls;
  const auto& paths = paths_;
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
    // A file may end without a line end, but each PEM block must begin on a new line.
    if (auto error = base::replace_file(paths.operators, *certificate + "\n" + *key, nodes_own()))
      return error;
  }
  auto there = base::read_file(paths.certificate, cell::longest_file_of_node);
  if (!there)
    return there.error();
  if (*there) {
    state_.certificate = first_certificate_of(**there);
    return std::nullopt;
  }
  auto now = std::chrono::time_point_cast<milliseconds>(std::chrono::system_clock::now());
  auto made = tls::make_unchecked({state_.record.request.node_id, {state_.record.where.host}},
                                  {now - backdated, now + unchecked_life});
  if (!made)
    return made.error();
  state_.certificate = made->certificate;
  return base::replace_file(paths.certificate, made->certificate + made->key, nodes_own());
}

/// Writes what Patroni needs for TLS with etcd. Copies, since Patroni runs as another user and may
/// see no other directory of the operator.
std::optional<std::string> postgresql_node::write_etcd_files() const {
  const auto& etcd = config_.etcd;
  const auto& paths = paths_;
  for (const auto& [from, to] : {std::pair{&etcd.tls_authority, &paths.etcd_authority},
                                 {&etcd.tls_certificate, &paths.etcd_certificate},
                                 {&etcd.tls_key, &paths.etcd_key}})
    if (!from->empty())
      if (auto error = copy_file(*from, *to))
        return error;
  return std::nullopt;
}

std::optional<std::string> postgresql_node::copy_file(const std::string& from,
                                                      const std::string& to) const {
  auto text = text_in(from);
  if (!text)
    return text.error();
  return base::replace_file(to, *text, nodes_own());
}

/// Writes the node's view of PostgreSQL's programs. The files belong to the agent, so that a tenant
/// with the database's superuser cannot replace what is started next.
std::optional<std::string> postgresql_node::write_programs() const {
  const auto& directory = paths_.programs;
  if (auto error = base::make_directory(directory, 0750, {geteuid(), driver_.user().gid}))
    return error;
  std::error_code error;
  for (const auto& name : base::names_in(settings_of(config_).bin_dir)) {
    auto link = fs::path{directory} / name;
    auto target = fs::path{settings_of(config_).bin_dir} / name;
    std::error_code none_yet;
    if (name == "postgres" || fs::read_symlink(link, none_yet) == target)
      continue;
    fs::remove(link, error);
    fs::create_symlink(target, link, error);
    if (error)
      return fmt::format("cannot make {}: {}", link.string(), error.message());
  }
  auto script = directory + "/postgres";
  if (auto failed = base::replace_file(
          script, render_postgres_script(config_, paths_, driver_.walls_of(state_.place())),
          {geteuid(), getegid()}))
    return failed;
  fs::permissions(script, fs::perms{0755}, error);
  if (error)
    return fmt::format("cannot make {} executable: {}", script, error.message());
  return std::nullopt;
}

std::optional<std::string> postgresql_node::write_configuration() {
  if (auto error = write_certificate())
    return error;
  if (auto error = write_etcd_files())
    return error;
  auto text = render_patroni(config_, state_.record, paths_, !state_.authorities.empty());
  return base::replace_file(paths_.patroni, text, nodes_own());
}

/// Makes the file of refused roles if it is missing: PostgreSQL neither starts nor reloads while a
/// file named in pg_hba.conf is missing. Existing content stays.
std::optional<std::string> postgresql_node::make_refused() const {
  auto there = base::read_file(paths_.refused, cell::longest_file_of_node);
  if (!there)
    return there.error();
  return *there ? std::nullopt : base::replace_file(paths_.refused, "", nodes_own());
}

/// Keeps the bounds from before the node ended.
std::optional<std::string> postgresql_node::make_bounds() const {
  auto there = base::read_file(paths_.bounds, cell::longest_file_of_node);
  return there && *there ? std::nullopt
                         : base::replace_file(paths_.bounds, render_bounds(false), nodes_own());
}

/// Takes over a node that outlived its agent and may have files of an earlier release. Patroni
/// reads its configuration when told to, and writes pg_hba.conf from it. For a node without a
/// certificate only pg_hba.conf is updated.
void postgresql_node::adopt() {
  auto text = base::read_file(paths_.patroni, cell::longest_file_of_node);
  if (!text || !*text)
    return spdlog::error("node {}: cannot read {}", state_.id(), paths_.patroni);
  asked_by_tls_ = postgresql::speaks_tls(**text);
  if (auto error = make_refused())
    return spdlog::error("node {}: {}", state_.id(), *error);
  if (!state_.authorities.empty()) {
    if (auto error = write_configuration())
      spdlog::error("node {}: {}", state_.id(), *error);
    return;
  }
  auto renewed = with_access_rules(**text, access_rules(config_, state_.record.request, paths_));
  if (!renewed)
    return spdlog::error("node {}: {} has an unknown form and is left unchanged", state_.id(),
                         paths_.patroni);
  if (*renewed == **text)
    return;
  if (auto error = base::replace_file(paths_.patroni, *renewed, nodes_own()))
    return spdlog::error("node {}: {}", state_.id(), *error);
  spdlog::info("node {}: its pg_hba.conf is brought up to date", state_.id());
}

// -- the node's state -----------------------------------------------------------------------------

void postgresql_node::ask(std::function<void(cell::node_answer)> then) {
  ask(std::move(then), false);
}

/// Asks Patroni for its state. During a reload it may or may not speak TLS yet, so both ways are
/// tried.
void postgresql_node::ask(std::function<void(cell::node_answer)> then, bool again) {
  auto by_tls = asked_by_tls_;
  const auto& where = state_.record.where;
  base::outgoing question;
  question.url =
      fmt::format("{}://{}:{}/patroni", by_tls ? "https" : "http", where.host, where.api_port);
  question.tls.authority_text = state_.authorities;
  question.timeout = seconds{2};
  question.max_answer_bytes = 64 * 1024;
  loop_.send(std::move(question), life_.guard([this, then = std::move(then), again,
                                               by_tls](const base::outcome& answer) {
    if (answer.status != 0 && by_tls)
      speaks_tls_ = true;
    if (answer.status == 0 && shows_certificate()) {
      asked_by_tls_ = !by_tls;
      if (!again)
        return ask(then, true);
    }
    then(answer_in(answer));
  }));
}

void postgresql_node::ask_successor(
    std::function<void(const std::optional<std::string>& who)> then) {
  const auto& request = state_.record.request;
  if (!etcd_) {
    auto access = store::access_of(config_.etcd);
    if (!request.etcd.username.empty()) {
      access.username = request.etcd.username;
      access.password = request.etcd.password;
    }
    etcd_ = std::make_unique<store::etcd_client>(loop_, std::move(access));
  }
  etcd_->range({store::keys::leader(request.scope), {}},
               life_.guard([this, then = std::move(then)](const store::range_result& read) {
                 if (!read.ok || read.found.empty() || read.found[0].value == state_.id())
                   return then(std::nullopt);
                 then(read.found[0].value);
               }));
}

result<model::data_at_stop> postgresql_node::at_stop() const {
  auto text = base::read_file(paths_.data + "/global/pg_control", cell::longest_file_of_node);
  if (!text)
    return failure{text.error()};
  if (!*text)
    return model::data_at_stop{}; // no data yet
  return data_in_control_file(**text);
}

// -- who may get in -------------------------------------------------------------------------------

/// PostgreSQL refuses these roles in later connections. The file keeps them until the next call
/// replaces them; names of bindings' roles are never used again.
std::optional<std::string> postgresql_node::refuse(const std::set<std::string>& roles) {
  auto lines = fmt::format("{}\n", fmt::join(roles, "\n"));
  if (auto error = base::replace_file(paths_.refused, lines, nodes_own()))
    return error;
  reload_postgresql(driver_.processes_of(state_.place()));
  return std::nullopt;
}

std::optional<std::string> postgresql_node::bound_writes(cell::disk_state is, bool grows) {
  auto processes = driver_.processes_of(state_.place());
  const auto& request = state_.record.request;
  auto asked = asked_of(request);
  // First: on a disk without any space no file can be written.
  if (is == cell::disk_state::full)
    (void)cancel_writers(processes, request.scope,
                         {asked.superuser.username, asked.replication.username}, grows);
  auto wanted = render_bounds(is != cell::disk_state::roomy);
  auto there = base::read_file(paths_.bounds, cell::longest_file_of_node);
  if (there && *there == wanted)
    return std::nullopt;
  if (auto error = base::replace_file(paths_.bounds, wanted, nodes_own()))
    return error;
  reload_postgresql(processes);
  return std::nullopt;
}

void postgresql_node::end_sessions(const std::set<std::string>& roles) {
  (void)end_backends(driver_.processes_of(state_.place()), state_.record.request.scope, roles);
}

} // namespace matriarch::engines::postgresql
