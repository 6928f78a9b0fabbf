#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tls/certificate.hpp"

/// Who signs the certificates of a fleet's cells and nodes, when another takes over, and when a
/// certificate has to be renewed: rules, of the time that they are asked at.
namespace matriarch::tls {

/// An authority of the fleet's own lives so long.
inline constexpr std::chrono::days authority_life{20 * 365};
/// Its successor is made so long before its end ...
inline constexpr std::chrono::days succession{2 * 365};
/// ... and stands in new bindings for so long before it signs: who binds anew once a year has it.
inline constexpr std::chrono::days standing{365};
/// A server's certificate lives so long, and is renewed after two thirds of it: a month is left for
/// what keeps it from being renewed.
inline constexpr std::chrono::days server_life{90};
/// Certificates begin so long before they are made, for the clocks of clients differ.
inline constexpr std::chrono::days backdated{1};

/// Somebody whose certificate clients have to know.
struct authority {
  key_pair pair;                  ///< without a key: it signs elsewhere, or not yet
  model::wall_time shown_since{}; ///< new bindings have had its certificate since then
  model::wall_time until{};       ///< the certificate's end
};

/// All of a fleet's, the oldest first.
struct authorities {
  std::vector<authority> all;
  /// The certificates of those who signed before others took over, as PEM: nodes may still show what
  /// they signed.
  std::string retiring = {};

  /// Who signs now; nullptr if nobody can.
  [[nodiscard]] const authority* signer(model::wall_time now) const;
  /// The certificates that clients have to know, as one PEM text.
  [[nodiscard]] std::string shown(model::wall_time now) const;
  /// Whom to believe: these, and who retires.
  [[nodiscard]] std::string trusted(model::wall_time now) const;
};
using authorities_ptr = std::shared_ptr<const authorities>;

/// What a fleet's own authorities shall be: a first one, or a successor, is added when it is time,
/// and those that have ended go. Nothing if they are as they shall be.
[[nodiscard]] result<std::optional<authorities>> next_of(const authorities& now_are,
                                                         model::wall_time now);

/// Of the certificates in a text that was told before, those that these authorities do not show and
/// that have not ended: who retires.
[[nodiscard]] std::string retiring_of(std::string_view told, const authorities& now_are,
                                      model::wall_time now);

/// The authority that an operator configured: `certificate` with those between it and the root, and
/// certificates of authorities that will sign later, if there are any. The failure says what is
/// wrong with which of the three.
[[nodiscard]] result<authorities> operators_authority(const key_pair& signs,
                                                      const std::string& successors);

/// Signs a request for a node of the fleet. The text is what the node shows. No node is called what
/// only a cell may be called, whoever says so.
[[nodiscard]] result<std::string> certify(const authorities& by, const std::string& request,
                                          const subject& whom, model::wall_time now);
/// The same for a cell.
[[nodiscard]] result<std::string> certify_cell(const authorities& by, const std::string& request,
                                               const subject& whom, model::wall_time now);

/// What a cell's certificate names: no node's and no host's, for whoever has one of theirs is no
/// cell. Of any guid; no two guids have the same.
[[nodiscard]] std::string cell_host(const std::string& guid);

/// Whether a server needs another certificate than this one: it is not of who signs now, does not
/// name just these hosts, or has had two thirds of its life.
[[nodiscard]] bool is_to_be_renewed(const std::string& certificate,
                                    const std::set<std::string>& hosts, const authorities& by,
                                    model::wall_time now);

} // namespace matriarch::tls
