#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.hpp"
#include "base/findings.hpp"
#include "base/result.hpp"
#include "cell/cell_config.hpp"
#include "cell/disk_gauge.hpp"
#include "cell/node_driver.hpp"
#include "cell/node_state.hpp"
#include "model/data_position.hpp"

/// What an engine's nodes need of a cell, and what a cell has to know of them. Everything is called on
/// the event loop's thread unless it says otherwise.
namespace matriarch::cell {

/// What a node says of itself.
struct node_answer {
  bool answered = false; ///< somebody is there
  bool runs = false;     ///< and serves
  /// Whether it takes writes; nothing if it does not say.
  std::optional<bool> leads = std::nullopt;
};

/// One node, as its engine sees it. It lives as long as the node's state, and no longer.
class engine_node {
public:
  virtual ~engine_node() = default;

  /// Takes a directory out of the way, to be removed.
  using discard_function = std::function<std::optional<std::string>(const std::string& directory)>;
  /// Writes all that the node is started with. Nothing of it runs.
  [[nodiscard]] virtual std::optional<std::string> write_files(const discard_function& discard) = 0;
  /// What it is started by, after that.
  [[nodiscard]] virtual program command() const = 0;
  /// An earlier agent has started it, and may have written what it reads otherwise than this one does.
  virtual void adopt() = 0;
  /// Writes again what changes with its certificate. A reload has it read.
  [[nodiscard]] virtual std::optional<std::string> write_configuration() = 0;

  /// Asks it how it is.
  virtual void ask(std::function<void(node_answer)> then) = 0;
  /// Asks who leads in its place; nothing if it does itself, if nobody does, or if that cannot be known.
  virtual void ask_successor(std::function<void(const std::optional<std::string>& who)> then) = 0;

  /// What certainly shows a certificate of the fleet's authority.
  struct certified {
    bool data = false; ///< where clients connect
    bool api = false;
  };
  [[nodiscard]] virtual certified shows() const = 0;

  /// What there is to say of the data of a node that has stopped; or why nothing is, for instance because
  /// it did not stop cleanly.
  [[nodiscard]] virtual result<model::data_at_stop> at_stop() const = 0;

  /// Lets nobody in any more who comes as one of these.
  [[nodiscard]] virtual std::optional<std::string> refuse(const std::set<std::string>& roles) = 0;
  /// Keeps it from writing as far as its disk says, or lets it write again; called whenever that changes,
  /// and again and again while it is full. Who only reads does not notice.
  [[nodiscard]] virtual std::optional<std::string> bound_writes(disk_state is) = 0;
  /// Ends the sessions of these, without a login: a session can hold what keeps others out.
  virtual void end_sessions(const std::set<std::string>& roles) = 0;
};

/// Whether nodes can be started here.
enum class readiness { unknown, ready, refused };

/// What is wrong with the configuration's own settings, in words.
struct own_judgement {
  std::vector<std::string> faults;
  std::vector<std::string> unknown; ///< what could not be judged, and why
};

class node_engine {
public:
  virtual ~node_engine() = default;

  /// As in the configuration, and in the path of what is asked of it: `/v2/<name>`.
  [[nodiscard]] virtual std::string name() const = 0;
  /// As people write it.
  [[nodiscard]] virtual std::string title() const = 0;
  /// What its nodes are asked for with.
  [[nodiscard]] virtual const request_rules& rules() const = 0;
  /// Of what is installed, as last seen; empty until it is.
  [[nodiscard]] virtual std::string version() const = 0;

  /// Whether its programs are there, and which versions they say they are. Without `versions` nothing is
  /// run. May be called on any thread; blocks.
  virtual void look_at_programs(bool versions, base::findings& found) const = 0;
  /// Whether nodes start with the settings in the cell's configuration. May be called on any other
  /// thread than the loop's; blocks, for half a minute at most.
  [[nodiscard]] virtual own_judgement judge_own_settings() = 0;

  /// Begins to look after its programs. `has_nodes`: of an earlier agent, which are not left alone for a
  /// wrong setting.
  virtual void start(bool has_nodes) = 0;
  /// Called some times a second.
  virtual void tick() = 0;

  /// No node is started before that is known, nor where it is refused.
  [[nodiscard]] virtual readiness ready() const = 0;
  /// Why it is refused, in words.
  [[nodiscard]] virtual std::string why_refused() const = 0;
  /// Calls `then` once it is known.
  virtual void when_known(std::function<void()> then) = 0;
  /// A node's first process has ended, in that way if it is known.
  virtual void node_ended(const std::optional<std::string>& how) = 0;

  [[nodiscard]] virtual std::unique_ptr<engine_node> attach(node_state& which) = 0;

  using text_function = std::function<void(const result<std::string>&)>;
  /// Describes its settings, as JSON.
  virtual void describe_settings(text_function then) = 0;
  /// Says, as JSON, with which plans' settings of that question no node would start; or at once what is
  /// wrong with the question.
  [[nodiscard]] virtual std::optional<std::string> judge_settings(const std::string& question,
                                                                  text_function then) = 0;
};

/// An engine as the wiring registers it.
class engine_kind {
public:
  engine_kind() = default;
  virtual ~engine_kind() = default;
  engine_kind(const engine_kind&) = delete;
  engine_kind& operator=(const engine_kind&) = delete;

  /// How it reads the configuration.
  [[nodiscard]] virtual const engine_sections& sections() const = 0;
  /// Makes one that nodes of this configuration run by that driver. All must outlive it.
  [[nodiscard]] virtual std::unique_ptr<node_engine>
  make(const cell_config& config, node_driver& driver, base::event_loop& loop) const = 0;
};

} // namespace matriarch::cell
