#pragma once

#include <chrono>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "model/record.hpp"

/// Keys and certificates (X.509) as PEM texts, by OpenSSL. Failures say which step OpenSSL refused,
/// and never a key.
namespace matriarch::tls {

/// A private key with its certificate.
struct key_pair {
  std::string key;
  std::string certificate;
};

/// From when to when a certificate is valid; seconds count, what is less does not.
struct validity {
  model::wall_time from;
  model::wall_time until;
};

/// Whom a certificate speaks of.
struct subject {
  std::string name;            ///< for people: the common name, 64 bytes at most
  std::set<std::string> hosts; ///< what clients may call it: IP addresses and hosts' names
  bool operator==(const subject&) const = default;
};

/// A new private key (EC P-256).
[[nodiscard]] result<std::string> make_key();

/// Makes a new key with a certificate that it signs itself. Nobody can check who that is; it is
/// there so that clients can encrypt before a certificate of the fleet's authority has come.
[[nodiscard]] result<key_pair> make_unchecked(const subject& whom, const validity& valid);

/// Makes an authority that signs certificates of servers and nothing else below it.
[[nodiscard]] result<key_pair> make_authority(const std::string& name, const validity& valid);

/// What the owner of a key sends to have it signed: that it has the key, and nothing more, for whom
/// it speaks of is the signer's to say.
[[nodiscard]] result<std::string> make_request(const std::string& key);

/// Signs a request. The text has the new certificate first, then those of `by` that stand between
/// it and the root, so that a server can show all of it.
[[nodiscard]] result<std::string> sign(const std::string& request, const subject& whom,
                                       const validity& valid, const key_pair& by);

/// What a certificate says, of the first one in a text.
struct description {
  std::set<std::string> hosts;
  validity valid;
  bool may_sign = false; ///< it is an authority's
};
[[nodiscard]] result<description> describe(std::string_view certificate);

/// Whether the first certificate in a text was signed with the key of the first in another.
[[nodiscard]] bool is_signed_by(std::string_view certificate, std::string_view authority);

/// Whether a certificate (the first in its text) speaks of the key that sent a request.
[[nodiscard]] bool answers(std::string_view certificate, std::string_view request);

/// Whether key and certificate (the first in its text) belong together.
[[nodiscard]] bool belong_together(const key_pair& both);

/// The certificates of a text, one by one, in their order. What is no certificate is left out.
[[nodiscard]] std::vector<std::string> certificates_in(std::string_view text);

} // namespace matriarch::tls
