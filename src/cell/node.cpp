#include "cell/node.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/files.hpp"
#include "base/utf8.hpp"
#include "model/names.hpp"
#include "model/node_limits.hpp"
#include "store/keys.hpp"
#include "tls/certificate.hpp"

namespace matriarch::cell {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// The broker repeats its order for as long as it is needed. A client that had connected before the
/// refusal has the engine's login time to authenticate, and the refusal does not affect it.
constexpr milliseconds longest_kept_out{12'000};
/// Before its engine has read its file again, a session can reconnect; with a short pause it is
/// ended before it can take the locks that keep others out. Afterwards only clients that had
/// connected before can log in.
constexpr milliseconds short_keep_out_pause{20};
constexpr milliseconds keep_out_pause{250};
constexpr milliseconds looked_often{2'000};
// Some hundred MB at most are written between two measurements. A directory of very many files
// takes longer to measure, and is not measured without pause.
constexpr milliseconds measure_pause{1'000};
constexpr int calm_factor = 4;
// A node that starts is probed often, for somebody waits; a running one only to notice a change.
constexpr milliseconds probe_pause_starting{500};
constexpr milliseconds probe_pause_running{5'000};
// A frozen leader has to be noticed before another one leads: within the shortest lease.
constexpr milliseconds probe_pause_leading{1'000};
// A database's clean stop takes two seconds, longer if much is still to be written.
constexpr seconds clean_stop{20};
// A program loses a signal that comes before it has set its handlers, so it is sent again.
constexpr milliseconds signal_pause{1'000};
// Brokers wait 30 seconds for an answer.
constexpr seconds longest_answer{28};
// For the answer that a node has stopped brokers wait 20 seconds, and ask once more.
// Growth below this part of a plan's `disk` between two measurements is no growth: WAL comes in files of 16 MB.
constexpr std::int64_t noise_share = 20;
constexpr seconds longest_halt_answer{18};
// A directory that cannot be removed, for example on a failing disk, is tried again at this pace.
constexpr seconds removal_pause{2};
// Each node has twice this: the log and the previous one.
constexpr std::size_t longest_log = 8 * 1024 * 1024;

std::string first_certificate_in(std::string_view text) {
  auto all = tls::certificates_in(text);
  return all.empty() ? "" : std::move(all.front());
}

} // namespace

node::node(node_record record, const std::string& directory, const node_surroundings& with,
           std::function<void(const std::string& node_id)> gone)
    : with_(with), gone_(std::move(gone)), state_{std::move(record), node_files{directory}},
      engine_(with.engine.attach(state_)), started_at_(clock::now()), restart_at_(clock::now()) {}

std::string_view node::word() const {
  switch (is_) {
  case state::starting:
    return "starting";
  case state::running:
    return "running";
  case state::restarting:
    return "restarting";
  case state::halting:
    return "halting";
  case state::halted:
    return "halted";
  case state::stopping:
    break;
  }
  return "stopping";
}

base::owner node::nodes_own() const {
  return {with_.driver.user().uid, with_.driver.user().gid};
}

std::string node::registrar_key() const {
  return fmt::format("{}{}:cf-{}:{}", store::keys::registrar, with_.hostname, id(),
                     state_.record.where.port);
}

std::optional<std::string> node::save() const {
  return base::write_durably(state_.files.record, text_of(state_.record), {geteuid(), getegid()});
}

void node::bound_log() const {
  if (is_ != state::stopping)
    base::bound_log(state_.files.log, longest_log);
}

std::optional<std::string> node::discard(const std::string& directory) {
  auto now = std::chrono::system_clock::now().time_since_epoch();
  auto trash = fmt::format("{}/{}-{}", with_.trash, id(),
                           std::chrono::duration_cast<milliseconds>(now).count());
  if (auto error = base::move_durably(directory, trash))
    return error;
  with_.remover.remove(trash, [id = id()](const std::optional<std::string>& error) {
    if (error)
      spdlog::warn("node {}: {}; what is left goes at the agent's next start", id, *error);
  });
  return std::nullopt;
}

// -- running --------------------------------------------------------------------------------------

void node::adopt() {
  if (auto there = base::read_file(state_.files.certificate, longest_file_of_node); there && *there)
    state_.certificate = first_certificate_in(**there);
  if (auto there = base::read_file(state_.files.fleet, longest_file_of_node); there && *there)
    state_.authorities = **there;
  busy_ = true;
  with_.driver.adopt(state_.place(), life_.guard([this](const node_life& life) {
    busy_ = false;
    if (life.alive) {
      // An earlier agent may have ended after it wrote the node's files, but before the reload.
      reload_wanted_ = true;
      engine_->adopt();
    }
    spdlog::info("node {} of {} found {}", id(), state_.record.request.scope,
                 life.alive ? "running" : "ended");
    if (state_.record.halted) {
      begin_halt(); // the earlier agent may have ended before the node had stopped
      told_to_end_ = life.alive;
    } else if (life.alive && is_ == state::restarting) {
      is_ = state::starting;
    }
  }));
}

void node::launch_now() {
  if (is_ == state::restarting && !busy_)
    launch();
}

void node::launch() {
  if (!is_wanted())
    return;
  // This holds even for a node that ran here before: it would lead as if no other node had led
  // since.
  if (with_.engine.ready() != readiness::ready) {
    is_ = state::restarting;
    restart_at_ = clock::now();
    return;
  }
  is_ = state::starting;
  started_at_ = clock::now();
  // No engine leads before it answers.
  may_lead_ = false;
  silent_ = false;
  busy_ = true;
  // No process of an earlier start may still write into the data directory.
  with_.driver.destroy(state_.place(), life_.guard([this](std::size_t left) {
    busy_ = false;
    if (!is_wanted())
      return;
    if (left == 0)
      return start();
    spdlog::warn("node {}: killed {} processes that an earlier start had left behind", id(), left);
    ended();
  }));
}

void node::start() {
  auto failed =
      engine_->write_files([this](const std::string& directory) { return discard(directory); });
  if (failed)
    return fail(*failed);
  busy_ = true;
  auto record = [this](const node_run& run) {
    state_.record.process = run.process;
    state_.record.kept_by = run.kept_by;
    state_.record.isolated = run.isolated;
    auto error = save();
    if (error)
      spdlog::error("{}", *error);
    return !error;
  };
  with_.driver.start(
      state_.place(), engine_->command(), record, life_.guard([this](const result<node_run>& run) {
        busy_ = false;
        if (!is_wanted())
          return;
        if (!run)
          return fail(run.error());
        probe_at_ = clock::now() + probe_pause_starting;
        spdlog::info("node {} of {} started on {}, process {}", id(), state_.record.request.scope,
                     name_of(state_.record.where), run->process ? run->process->pid : 0);
      }));
}

void node::fail(const std::string& why) {
  if (!is_wanted())
    return;
  spdlog::error("node {} cannot be started: {}", id(), why);
  ended();
}

void node::ended() {
  ends_first_ = false;
  auto lived = std::chrono::duration_cast<milliseconds>(clock::now() - started_at_);
  auto pause = pause_.next(lived);
  is_ = state::restarting;
  restart_at_ = clock::now() + pause;
  with_.announcer.remove(registrar_key(), [] {});
  spdlog::warn("node {} is started again in {} ms", id(), pause.count());
}

void node::look_after() {
  if (is_ == state::stopping)
    return go_on_stopping();
  if (is_ == state::halting)
    return go_on_halting();
  if (is_ == state::halted)
    return;
  if (busy_)
    return;
  if (is_ == state::restarting) {
    if (clock::now() >= restart_at_)
      launch();
    return;
  }
  busy_ = true;
  with_.driver.alive(state_.place(), life_.guard([this](const node_life& life) {
    busy_ = false;
    if (!is_wanted())
      return;
    if (life.alive) {
      if (ends_first_)
        tell_to_end();
      return found_alive();
    }
    spdlog::warn("node {} ended{}", id(), life.how ? fmt::format(" ({})", *life.how) : "");
    with_.engine.node_ended(life.how);
    // At once, for a server without its keeper still takes writes.
    with_.driver.destroy(state_.place(), [](std::size_t) {});
    ended();
  }));
}

void node::found_alive() {
  watch_leader();
  if (!measuring_ && clock::now() >= measure_at_)
    measure();
}

void node::watch_leader() {
  if (silent_ && may_lead_)
    kill_if_replaced();
  if (!probing_ && clock::now() >= probe_at_)
    probe();
}

void node::measure() {
  measuring_ = true;
  auto all = state_.record.request.limits.disk > 0;
  auto since = clock::now();
  with_.gauge.measure(state_.files.directory, all, life_.guard([this, since](const disk_use& now) {
    measuring_ = false;
    auto at = clock::now();
    measure_at_ = at + std::max<clock::duration>(measure_pause, (at - since) * calm_factor);
    if (is_ != state::stopping)
      measured(now);
  }));
}

void node::measured(const disk_use& now) {
  const auto limit = state_.record.request.limits.disk;
  const auto before = std::exchange(disk_, now);
  const bool grows = limit > 0 && now.used > before.used + limit / noise_share;
  auto is = judge_disk(now, {state_.record.request.limits.disk, with_.least_free_disk}, disk_is_);
  if (is != disk_is_) {
    auto words = fmt::format("node {}: its disk is {}: {} used{}, {} free on its file system", id(),
                             word_for(is), model::size_in_words(now.used),
                             state_.record.request.limits.disk > 0
                                 ? " of " + model::size_in_words(state_.record.request.limits.disk)
                                 : std::string{},
                             model::size_in_words(now.free));
    if (is == disk_state::roomy)
      spdlog::info("{}; it writes again", words);
    else
      spdlog::error("{}; new transactions only read{}", words,
                    is == disk_state::full ? ", and statements that write are ended" : "");
  }
  disk_is_ = is;
  if (told_ == is && is != disk_state::full)
    return;
  auto error = engine_->bound_writes(is, grows);
  told_ = error ? std::nullopt : std::optional{is};
  if (auto words = error.value_or("");
      words != std::exchange(measuring_failed_, words) && !words.empty())
    spdlog::error("node {}: {}", id(), words);
}

void node::probe() {
  probing_ = true;
  engine_->ask(life_.guard([this](const node_answer& answer) { probed(answer); }));
}

void node::probed(const node_answer& answer) {
  probing_ = false;
  // A node that has answered has set its signal handlers.
  if (answer.answered && reload_wanted_) {
    reload_wanted_ = false;
    with_.driver.reload(state_.place());
  }
  if (!answer.answered)
    silent_ = true;
  else if (answer.leads) {
    silent_ = false;
    may_lead_ = *answer.leads;
  }
  if (is_ == state::starting && answer.runs) {
    is_ = state::running;
    with_.announcer.put(registrar_key(), name_of(state_.record.where));
    spdlog::info("node {} runs", id());
  } else if (is_ == state::running && answer.answered && !answer.runs) {
    is_ = state::starting;
    with_.announcer.remove(registrar_key(), [] {});
    spdlog::warn("node {}: {} does not run; it is being taken care of", id(), with_.engine.title());
  }
  probe_at_ = clock::now()
              + (is_ == state::starting ? probe_pause_starting
                 : may_lead_            ? probe_pause_leading
                                        : probe_pause_running);
}

/// Fences a leader that does not answer: once another node leads, it is killed. If it resumed
/// instead, it would take writes that its successor never gets, until it noticed the change. When
/// it is started again it follows.
void node::kill_if_replaced() {
  if (std::exchange(asking_who_leads_, true))
    return;
  engine_->ask_successor(life_.guard([this](const std::optional<std::string>& who) {
    asking_who_leads_ = false;
    auto is_up = is_ == state::starting || is_ == state::running || is_ == state::halting;
    if (!who || !silent_ || !may_lead_ || !is_up || !state_.record.process)
      return;
    spdlog::warn("node {} is killed, for it does not answer and {} leads in its place", id(),
                 matriarch::quoted(*who));
    may_lead_ = false;
    with_.driver.kill(state_.place());
  }));
}

// -- certificates ---------------------------------------------------------------------------------

/// Until the reload the node shows its previous certificate, so the authority of that one stays in
/// the file.
std::optional<std::string> node::install(const node_key& what) {
  auto authorities = what.authorities;
  for (const auto& before : tls::certificates_in(state_.authorities))
    if (authorities.find(before) == std::string::npos
        && tls::is_signed_by(state_.certificate, before))
      authorities += before;
  if (auto error = base::replace_file(state_.files.fleet, authorities, nodes_own()))
    return error;
  if (auto error =
          base::replace_file(state_.files.certificate, what.certificate + what.key, nodes_own()))
    return error;
  state_.certificate = first_certificate_in(what.certificate);
  state_.authorities = std::move(authorities);
  state_.record.api_tls = state_.record.api_tls || what.api_tls;
  return std::nullopt;
}

std::optional<std::string> node::renew(const node_key& what) {
  auto error = install(what);
  if (!error)
    error = save();
  if (!error)
    error = engine_->write_configuration();
  if (error) {
    spdlog::error("node {}: {}", id(), *error);
    return error;
  }
  reload_wanted_ = true;
  probe_at_ = clock::now();
  spdlog::info("node {} has a new certificate", id());
  return std::nullopt;
}

// -- refused roles -----------------------------------------------------------------------------

/// The roles stay refused until other roles are: no binding gets a name that another one had.
std::optional<std::string> node::keep_out(std::set<std::string> roles) {
  kept_out_.merge(roles);
  // A full disk prevents only the file, not the rest.
  auto error = refused_ == kept_out_ ? std::nullopt : engine_->refuse(kept_out_);
  if (!error)
    refused_ = kept_out_;
  often_until_ = clock::now() + looked_often;
  if (std::exchange(keep_out_until_, clock::now() + longest_kept_out) == clock::time_point{}) {
    spdlog::info("node {}: revoked roles are refused, and their sessions end", id());
    go_on_keeping_out();
  }
  return error;
}

void node::go_on_keeping_out() {
  engine_->end_sessions(kept_out_);
  auto now = clock::now();
  if (now < keep_out_until_) {
    auto pause = now < often_until_ ? short_keep_out_pause : keep_out_pause;
    with_.loop.after(pause, life_.guard([this] { go_on_keeping_out(); }));
    return;
  }
  kept_out_.clear();
  keep_out_until_ = {};
}

// -- stopped, and kept ------------------------------------------------------------------------------

void node::halt(halted_function then) {
  if (is_ == state::stopping)
    return then(failure{"it is being removed"});
  if (!std::exchange(state_.record.halted, true))
    if (auto error = save()) {
      state_.record.halted = false;
      return then(failure{*error});
    }
  halt_waiters_.push_back({std::move(then), clock::now() + longest_halt_answer});
  if (is_ == state::halted)
    return tell_halted();
  if (is_ != state::halting)
    begin_halt();
}

void node::begin_halt() {
  spdlog::info("node {} is being stopped", id());
  is_ = state::halting;
  told_to_end_ = ends_first_ = false;
  signal_at_ = clock::now();
  with_.announcer.remove(registrar_key(), [] {});
  go_on_halting();
}

/// The purpose of a halt is a clean stop that loses nothing: the node is killed only if it does not answer
/// and another one leads in its place.
void node::go_on_halting() {
  auto now = clock::now();
  if (!busy_) {
    busy_ = true;
    with_.driver.alive(state_.place(), life_.guard([this](const node_life& life) {
      busy_ = false;
      if (is_ != state::halting)
        return;
      if (life.alive) {
        tell_to_end();
        return watch_leader();
      }
      busy_ = true;
      with_.driver.destroy(state_.place(), life_.guard([this](std::size_t left) {
        busy_ = false;
        if (left > 0 || is_ != state::halting)
          return; // looks again at the next tick, until none are left
        is_ = state::halted;
        spdlog::info("node {} has stopped", id());
        tell_halted();
      }));
    }));
  }
  std::erase_if(halt_waiters_, [&](const halt_waiter& waiting) {
    if (now < waiting.until)
      return false;
    waiting.then(failure{"its processes are still ending"});
    return true;
  });
}

/// Again and again: a program that has just started takes no notice of the first signal.
void node::tell_to_end() {
  if (clock::now() < signal_at_)
    return;
  signal_at_ = clock::now() + signal_pause;
  told_to_end_ = true;
  with_.driver.stop(state_.place());
}

void node::refuse_halt_waiters(const char* why) {
  for (const auto& waiting : std::exchange(halt_waiters_, {}))
    waiting.then(failure{why});
}

void node::tell_halted() {
  const auto data = engine_->at_stop();
  for (const auto& waiting : std::exchange(halt_waiters_, {}))
    waiting.then(data);
}

std::optional<std::string> node::resume() {
  if (is_ == state::stopping)
    return std::nullopt;
  if (state_.record.halted) {
    state_.record.halted = false;
    if (auto error = save()) {
      state_.record.halted = true;
      return error;
    }
    spdlog::info("node {} runs again", id());
    refuse_halt_waiters("it was asked for again meanwhile");
    // A first process that was told to end is waited for, and started again like any that ended.
    ends_first_ = is_ == state::halting && told_to_end_;
    is_ = is_ == state::halted ? state::restarting : state::starting;
    restart_at_ = clock::now();
  }
  if (ends_first_)
    return "its processes are still ending";
  return std::nullopt;
}

// -- removal --------------------------------------------------------------------------------------

void node::remove(removed_function then) {
  waiters_.push_back({std::move(then), clock::now() + longest_answer});
  if (is_ != state::stopping)
    remove();
}

void node::remove() {
  refuse_halt_waiters("it is being removed");
  spdlog::info("node {} is being removed", id());
  is_ = state::stopping;
  kill_at_ = clock::now() + clean_stop;
  signal_at_ = clock::now();
  go_on_stopping();
}

void node::go_on_stopping() {
  auto now = clock::now();
  if (!moved_away_ && !busy_) {
    busy_ = true;
    with_.driver.alive(state_.place(), life_.guard([this](const node_life& life) {
      busy_ = false;
      if (life.alive)
        return signal_to_stop();
      clear_away();
    }));
  }
  std::erase_if(waiters_, [&](const waiter& waiting) {
    if (now < waiting.until)
      return false;
    waiting.then(!moved_away_   ? "its processes are still ending"
                 : !files_gone_ ? "its files are still being removed"
                                : "etcd cannot be reached to remove its key");
    return true;
  });
}

void node::signal_to_stop() {
  auto now = clock::now();
  if (now >= kill_at_) {
    if (!std::exchange(killed_, true))
      spdlog::warn("node {} did not stop within {} s; killing it", id(), clean_stop.count());
    with_.driver.kill(state_.place());
  } else if (now >= signal_at_) {
    signal_at_ = now + signal_pause;
    with_.driver.stop(state_.place());
  }
}

/// The node's first process is gone: removes what is left.
void node::clear_away() {
  busy_ = true;
  with_.driver.destroy(state_.place(), life_.guard([this](std::size_t left) {
    busy_ = false;
    if (left > 0)
      return; // looks again at the next tick, until none are left
    auto trash = fmt::format("{}/{}", with_.trash, id());
    if (auto error = base::move_durably(state_.files.directory, trash))
      return spdlog::error("node {}: {}", id(), *error);
    moved_away_ = true;
    with_.announcer.remove(registrar_key(), life_.guard([this] {
      key_gone_ = true;
      removed_if_done();
    }));
    remove_files(trash);
  }));
}

void node::remove_files(const std::string& trash) {
  auto finished = life_.guard([this, trash](const std::optional<std::string>& error) {
    if (error) {
      spdlog::error("node {}: {}; trying again", id(), *error);
      with_.loop.after(removal_pause, life_.guard([this, trash] { remove_files(trash); }));
      return;
    }
    files_gone_ = true;
    removed_if_done();
  });
  with_.remover.remove(trash,
                       [&loop = with_.loop, finished](const std::optional<std::string>& error) {
                         loop.post([finished, error] { finished(error); });
                       });
}

void node::removed_if_done() {
  if (!files_gone_ || !key_gone_)
    return;
  spdlog::info("node {} is removed", id());
  auto self = shared_from_this();
  for (const auto& waiting : std::exchange(waiters_, {}))
    waiting.then(std::nullopt);
  gone_(id());
}

} // namespace matriarch::cell
