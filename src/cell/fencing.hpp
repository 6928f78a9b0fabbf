#pragma once

#include <optional>
#include <string_view>

namespace matriarch::cell {

/// How a node's processes are kept together, strongest first.
enum class fencing {
  pid_namespace,  ///< made by root; when its first process ends, all end
  user_namespace, ///< the same, made without root
  none,           ///< plain processes, found by their working directory
};

/// `pid-namespace`, `user-namespace` or `none`, as in /healthz and nodes' records.
[[nodiscard]] std::string_view name_of(fencing kind);
[[nodiscard]] std::optional<fencing> fencing_named(std::string_view word);

} // namespace matriarch::cell
