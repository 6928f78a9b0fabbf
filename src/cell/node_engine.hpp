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

/// What an engine's nodes need from a cell, and what a cell has to know about them. Everything is
/// called on the event loop's thread unless stated otherwise.
namespace matriarch::cell {

/// A node's answer about itself.
struct node_answer {
  bool answered = false; ///< something answered
  bool runs = false;     ///< the server runs
  /// Whether it accepts writes; nothing if it does not say.
  std::optional<bool> leads = std::nullopt;
};

/// One node, as its engine sees it. It lives as long as the node's state, and no longer.
class engine_node {
public:
  virtual ~engine_node() = default;

  /// Moves a directory away, to be deleted.
  using discard_function = std::function<std::optional<std::string>(const std::string& directory)>;
  /// Writes all files that the node is started with. No process of the node runs.
  [[nodiscard]] virtual std::optional<std::string> write_files(const discard_function& discard) = 0;
  /// The program that starts it, after write_files().
  [[nodiscard]] virtual program command() const = 0;
  /// Takes over a node of an earlier agent, which may have written its files differently.
  virtual void adopt() = 0;
  /// Writes again the files that change with its certificate. A reload makes the node read them.
  [[nodiscard]] virtual std::optional<std::string> write_configuration() = 0;

  /// Asks the node for its state.
  virtual void ask(std::function<void(node_answer)> then) = 0;
  /// Asks which node leads in its place; nothing if this node leads, if none does, or if that
  /// cannot be known.
  virtual void ask_successor(std::function<void(const std::optional<std::string>& who)> then) = 0;

  /// The ports that certainly show a certificate of the fleet's authority.
  struct certified {
    bool data = false; ///< the port for clients
    bool api = false;
  };
  [[nodiscard]] virtual certified shows() const = 0;

  /// What there is to say of the data of a node that has stopped; nothing if it did not stop cleanly. A
  /// failure is worth another try.
  [[nodiscard]] virtual result<model::data_at_stop> at_stop() const = 0;

  /// Refuses all further logins of these roles.
  [[nodiscard]] virtual std::optional<std::string> refuse(const std::set<std::string>& roles) = 0;
  /// Stops the node from writing as far as the disk's state requires, or lets it write again.
  /// Called whenever the state changes, and repeatedly while the disk is full. Sessions that only
  /// read notice nothing, unless `grows`: a full node takes more and more all the same.
  [[nodiscard]] virtual std::optional<std::string> bound_writes(disk_state is, bool grows) = 0;
  /// Ends the sessions of these roles without a login, for such a session can hold a lock that
  /// keeps others out.
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

  /// The name in the configuration, and in the path of questions about it: `/v2/<name>`.
  [[nodiscard]] virtual std::string name() const = 0;
  /// The name as people write it.
  [[nodiscard]] virtual std::string title() const = 0;
  /// The parameters of a request for a node.
  [[nodiscard]] virtual const request_rules& rules() const = 0;
  /// The installed version, as last seen; empty until it is known.
  [[nodiscard]] virtual std::string version() const = 0;

  /// Whether its programs are there, and which versions they report. Without `versions` nothing is
  /// run. May be called on any thread; blocks.
  virtual void look_at_programs(bool versions, base::findings& found) const = 0;
  /// Whether nodes start with the settings in the cell's configuration. May be called on any thread
  /// but the loop's; blocks, for half a minute at most.
  [[nodiscard]] virtual own_judgement judge_own_settings() = 0;

  /// Begins to look after its programs. `has_nodes`: an earlier agent left nodes, which are looked
  /// after in spite of a wrong setting.
  virtual void start(bool has_nodes) = 0;
  /// Called some times a second.
  virtual void tick() = 0;

  /// While the readiness is unknown, or refused, no node is started.
  [[nodiscard]] virtual readiness ready() const = 0;
  /// Why nodes cannot be started, in words.
  [[nodiscard]] virtual std::string why_refused() const = 0;
  /// Calls `then` once the readiness is known.
  virtual void when_known(std::function<void()> then) = 0;
  /// A node's first process has ended; `how`, if that is known.
  virtual void node_ended(const std::optional<std::string>& how) = 0;

  [[nodiscard]] virtual std::unique_ptr<engine_node> attach(node_state& which) = 0;

  using text_function = std::function<void(const result<std::string>&)>;
  /// Describes its settings, as JSON.
  virtual void describe_settings(text_function then) = 0;
  /// Reports, as JSON, the plans in the question with whose settings no node would start. Returns
  /// at once what is wrong with the question, if anything.
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
  /// Makes an engine for nodes of this configuration, run by that driver. All arguments must
  /// outlive it.
  [[nodiscard]] virtual std::unique_ptr<node_engine>
  make(const cell_config& config, node_driver& driver, base::event_loop& loop) const = 0;
};

} // namespace matriarch::cell
