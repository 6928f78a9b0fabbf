#pragma once

#include <string>
#include <string_view>

namespace matriarch::model {

/// The name of an instance or a binding in keys, scopes, HAProxy listens and file names: the id
/// itself where it consists of letters, digits, `_`, `-` and inner dots, 64 at most; any other id
/// becomes `~` and the first 40 hexadecimal digits of its SHA-256. The OSB specification allows any
/// character in an id; this is the one place that makes them safe. The record keeps the true id.
[[nodiscard]] std::string name_of(std::string_view id);

/// The scope of an instance's `n`th cluster: of the first its name, of later ones `<name>~<n>`, which is
/// no instance's name, since plain names hold no `~` and others are of one length.
[[nodiscard]] std::string scope_of(const std::string& name, int n);

/// The name of the instance that a scope is of, as scope_of() makes them.
[[nodiscard]] std::string name_of_scope(std::string_view scope);

/// The first `digits` hexadecimal digits of a text's SHA-256; 64 at most.
[[nodiscard]] std::string start_of_sha256(std::string_view text, std::size_t digits);

} // namespace matriarch::model
