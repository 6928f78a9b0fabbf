#pragma once

#include <string>
#include <string_view>

namespace matriarch::model {

/// The name of an instance or a binding in keys, scopes, HAProxy listens and file names. An id of
/// at most 64 letters, digits, `_`, `-` and inner dots is its own name. Any other id becomes `~`
/// and the first 40 hexadecimal digits of its SHA-256. The OSB specification allows any character
/// in an id; only this function makes ids safe. The record keeps the original id.
[[nodiscard]] std::string name_of(std::string_view id);

/// The scope of an instance's `n`th cluster: the instance's name for the first, `<name>~<n>` for
/// later ones. A scope with a number is never an instance's name: plain names contain no `~`, and
/// hashed names have a fixed length.
[[nodiscard]] std::string scope_of(const std::string& name, int n);

/// The name of the instance that a scope belongs to, the reverse of scope_of().
[[nodiscard]] std::string name_of_scope(std::string_view scope);

/// The first `digits` hexadecimal digits of a text's SHA-256; 64 at most.
[[nodiscard]] std::string start_of_sha256(std::string_view text, std::size_t digits);

} // namespace matriarch::model
