#include "model/event.hpp"

#include "model/words.hpp"

namespace matriarch::model {

namespace {

struct wording {
  std::string operator()(const operation_accepted& one) const {
    auto port = one.port == 0 ? std::string{} : ", port " + std::to_string(one.port);
    return std::string{text_of(one.type)} + " accepted" + port + " (operation " + one.operation_id
           + ")";
  }
  std::string operator()(const operation_ended& one) const {
    if (one.type == operation_type::deprovision && one.succeeded)
      return "removed";
    return std::string{text_of(one.type)} + (one.succeeded ? " succeeded: " : " failed: ")
           + one.description;
  }
  std::string operator()(const provision_undone&) const {
    return "an unfinished provision was taken back";
  }
  std::string operator()(const bootstrap_repeated& one) const {
    return one.with_other_nodes
               ? "its first node runs but does not become the leader; others replace it"
               : "its first node was chosen, and makes no data; another may begin";
  }
  std::string operator()(const parameters_adopted&) const {
    return "it gets the parameters that new clusters have";
  }
  std::string operator()(const repair_changed& one) const {
    return one.words.empty() ? "repaired" : one.words;
  }
  std::string operator()(const switchover_begun& one) const {
    return "switching over from " + one.from + " to " + one.to;
  }
  std::string operator()(const switchover_failed& one) const {
    return "the switchover failed: " + one.why;
  }
  std::string operator()(const restart_begun& one) const {
    return "restarting node " + one.node_id + " with its new settings";
  }
  std::string operator()(const copy_repeated& one) const {
    return "node " + one.node_id + " copies a former leader, and begins its copy again";
  }
  std::string operator()(const port_exchanged& one) const {
    return "port " + std::to_string(one.before) + " cannot be opened by a router; it gets "
           + std::to_string(one.now) + " instead";
  }
  std::string operator()(const rebuild_begun& one) const {
    return "a new cluster, " + one.scope + ", is made beside the one that serves (rebuild " + one.id
           + ")";
  }
  std::string operator()(const cluster_exchanged& one) const {
    return "cluster " + one.to + " serves in place of " + one.from;
  }
  std::string operator()(const rebuild_ended& one) const {
    return "rebuild " + one.id + (one.succeeded ? " succeeded" : " failed: " + one.why);
  }
};

} // namespace

operation_ended end_of(const record& known, bool succeeded, wall_time now) {
  const auto& of = known.current;
  return {of.type, of.id, of.requested_by, succeeded, of.description, now - of.started_at};
}

std::string words_of(const event& one) {
  return std::visit(wording{}, one.what);
}

bool is_warning(const event& one) {
  if (const auto* rebuild = std::get_if<rebuild_ended>(&one.what))
    return !rebuild->succeeded;
  return std::holds_alternative<bootstrap_repeated>(one.what)
         || std::holds_alternative<switchover_failed>(one.what)
         || std::holds_alternative<copy_repeated>(one.what)
         || std::holds_alternative<port_exchanged>(one.what);
}

} // namespace matriarch::model
