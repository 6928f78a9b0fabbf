#include "http/tenant_text.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

namespace matriarch::http {

namespace {

constexpr std::string_view instead = "[address]";
constexpr std::string_view between_words = " \t\r\n\"'`(),;<>{}|=";
constexpr std::size_t longest_port = 5; // 65535

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

bool equal(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, {}, [](unsigned char c) { return std::tolower(c); },
      [](unsigned char c) { return std::tolower(c); });
}

bool is_number(std::string_view word) {
  return !word.empty() && word.size() <= longest_port && std::ranges::all_of(word, is_digit);
}

bool is_ip(std::string_view word) {
  // The zone of a link-local address, as in fe80::1%eth0.
  std::string plain{word.substr(0, word.find('%'))};
  std::array<unsigned char, sizeof(in6_addr)> into{};
  return ::inet_pton(AF_INET, plain.c_str(), into.data()) == 1
         || ::inet_pton(AF_INET6, plain.c_str(), into.data()) == 1;
}

bool is_host_name(std::string_view word) {
  return !word.empty() && std::ranges::any_of(word, is_letter)
         && std::ranges::all_of(word, [](char c) {
              return is_digit(c) || is_letter(c) || c == '.' || c == '-' || c == '_';
            });
}

/// Whether the word alone is an address.
bool is_address(std::string_view word, const host_names& names) {
  if (word.empty() || std::ranges::find(names.shown, word) != names.shown.end())
    return false;
  if (word.find("://") != std::string_view::npos || is_ip(word))
    return true;
  auto is_known = [&](std::string_view host) {
    return std::ranges::any_of(names.internal,
                               [&](std::string_view one) { return equal(one, host); });
  };
  if (is_known(word))
    return true;
  // A path of a file, a socket or a key, possibly inside host/path or host:port/path.
  if (auto slash = word.find('/'); slash != std::string_view::npos && word.size() > 1) {
    constexpr std::array own{"/v2", "/admin", "/healthz"};
    if (slash == 0)
      return std::ranges::none_of(own, [&](auto mine) { return word.starts_with(mine); });
    return is_address(word.substr(0, slash), names);
  }
  if (word.front() == '[') {
    auto end = word.find(']');
    return end != std::string_view::npos && is_ip(word.substr(1, end - 1));
  }
  auto colon = word.rfind(':');
  // A single digit is more likely a count than a port.
  if (colon == std::string_view::npos || word.size() < colon + 3
      || !is_number(word.substr(colon + 1)))
    return false;
  auto host = word.substr(0, colon);
  return is_host_name(host) || is_ip(host) || is_known(host);
}

/// Reads a text word by word and writes it without addresses.
class rewriting {
public:
  rewriting(std::string_view text, const host_names& names) : names_(names) {
    std::size_t at = 0;
    while (at < text.size()) {
      auto begin = std::min(text.find_first_not_of(between_words, at), text.size());
      auto end = std::min(text.find_first_of(between_words, begin), text.size());
      auto word = text.substr(begin, end - begin);
      auto kept = word.find_last_not_of(".:!?") + 1; // 0 if there is nothing else
      pieces_.push_back({text.substr(at, begin - at), word.substr(0, kept), word.substr(kept)});
      at = end;
    }
  }

  std::string run() {
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      const auto& [before, word, after] = pieces_[i];
      bool more_of_one = after_address_ && before.find(';') == std::string_view::npos;
      if (more_of_one && equal(word, "port") && is_number(word_at(i + 1))) {
        ++i; // the port's number goes too
        written_ += pieces_[i].after;
      } else if (any_ && i > 0 && equal(word_at(i - 1), "port") && is_number(word)) {
        replace(before);
        written_ += after;
      } else if (is_address(word, names_) || stands_for_one(i)) {
        if (!more_of_one)
          replace(before);
        written_ += after;
        after_address_ = after.empty();
      } else {
        write(before, word, after);
      }
    }
    return std::move(written_);
  }

private:
  struct piece {
    std::string_view before; ///< blanks and punctuation
    std::string_view word;
    std::string_view after; ///< punctuation after it
  };

  [[nodiscard]] std::string_view word_at(std::size_t i) const {
    return i < pieces_.size() ? pieces_[i].word : std::string_view{};
  }

  /// Whether libpq or libcurl name a host here, which may look like any other word.
  [[nodiscard]] bool stands_for_one(std::size_t i) const {
    if (i == 0 || word_at(i).empty())
      return false;
    const auto& before = pieces_[i - 1];
    auto follows = [&](std::string_view first, std::string_view second) {
      return i > 1 && equal(before.word, second) && equal(word_at(i - 2), first);
    };
    bool quoted = pieces_[i].before.find_first_of("\"'") != std::string_view::npos;
    bool named = equal(before.word, "host") || equal(before.word, "hostname")
                 || follows("host", "name") || follows("subject", "name")
                 || follows("certificate", "for") || follows("network", "address");
    if ((named && (quoted || before.after == ":")) || follows("server", "at")
        || equal(before.word, "lookup"))
      return true;
    bool with_port = equal(word_at(i + 1), "port") && is_number(word_at(i + 2));
    return with_port
           && (equal(before.word, "to") || equal(before.word, "at") || equal(before.word, "from")
               || equal(before.word, "for"));
  }

  void replace(std::string_view before) {
    // Quotes and brackets around the address go too.
    auto kept = before.find_last_not_of("\"'`([<") + 1;
    written_ += before.substr(0, kept);
    open_ = before.size() - kept;
    written_ += instead;
    any_ = true;
  }

  void write(std::string_view before, std::string_view word, std::string_view after) {
    if (after_address_)
      for (; open_ > 0 && !before.empty()
             && std::string_view{"\"'`)]>,"}.find(before.front()) != std::string_view::npos;
           --open_)
        before.remove_prefix(1);
    open_ = 0;
    after_address_ = false;
    written_ += before;
    written_ += word;
    written_ += after;
  }

  const host_names& names_;
  std::vector<piece> pieces_;
  std::string written_;
  bool any_ = false;           ///< an address has been replaced
  bool after_address_ = false; ///< the next word may belong to the same address
  std::size_t open_ = 0;       ///< quotes and brackets left out before it
};

} // namespace

std::string_view host_in(std::string_view uri) {
  constexpr std::string_view after_scheme = "://";
  auto at = uri.find(after_scheme);
  if (at == std::string_view::npos)
    return {};
  uri.remove_prefix(at + after_scheme.size());
  uri = uri.substr(0, uri.find('/'));
  uri = uri.substr(uri.rfind('@') + 1); // all of it if there is no @
  if (uri.starts_with('['))
    return uri.substr(1, uri.find(']') - 1);
  return uri.substr(0, uri.find(':'));
}

std::string without_addresses(std::string_view text, const host_names& names) {
  return rewriting{text, names}.run();
}

} // namespace matriarch::http
