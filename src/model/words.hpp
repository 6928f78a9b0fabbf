#pragma once

#include "base/enum_words.hpp"
#include "model/record.hpp"
#include "model/settings.hpp"

/// The words for enum values, as stored in etcd and shown to operators. A stored word never
/// changes: earlier and later releases read it.
namespace matriarch::model {

inline constexpr base::enum_words<node_phase, 3> node_phases{
    {{{node_phase::placed, "placed"},
      {node_phase::started, "started"},
      {node_phase::removing, "removing"}}}};
inline constexpr base::enum_words<operation_type, 3> operation_types{
    {{{operation_type::provision, "provision"},
      {operation_type::update, "update"},
      {operation_type::deprovision, "deprovision"}}}};
inline constexpr base::enum_words<operation_state, 3> operation_states{
    {{{operation_state::in_progress, "in progress"},
      {operation_state::succeeded, "succeeded"},
      {operation_state::failed, "failed"}}}};
inline constexpr base::enum_words<rebuild_phase, 4> rebuild_phases{
    {{{rebuild_phase::copying, "copying"},
      {rebuild_phase::halting, "halting"},
      {rebuild_phase::promoting, "promoting"},
      {rebuild_phase::ended, "ended"}}}};
inline constexpr base::enum_words<credentials_mode, 2> credentials_modes{
    {{{credentials_mode::per_binding, "per-binding"}, {credentials_mode::shared, "shared"}}}};
inline constexpr base::enum_words<synchronous_mode, 3> synchronous_modes{
    {{{synchronous_mode::off, "off"},
      {synchronous_mode::on, "on"},
      {synchronous_mode::strict, "strict"}}}};
inline constexpr base::enum_words<binding_phase, 3> binding_phases{
    {{{binding_phase::creating, "creating"},
      {binding_phase::ready, "ready"},
      {binding_phase::removing, "removing"}}}};
inline constexpr base::enum_words<record_phase, 2> record_phases{
    {{{record_phase::accepting, "accepting"}, {record_phase::accepted, "accepted"}}}};

[[nodiscard]] constexpr const char* text_of(node_phase phase) {
  return node_phases.word_for(phase);
}
[[nodiscard]] constexpr const char* text_of(operation_type type) {
  return operation_types.word_for(type);
}
[[nodiscard]] constexpr const char* text_of(operation_state state) {
  return operation_states.word_for(state);
}
[[nodiscard]] constexpr const char* text_of(rebuild_phase phase) {
  return rebuild_phases.word_for(phase);
}
[[nodiscard]] constexpr const char* text_of(credentials_mode mode) {
  return credentials_modes.word_for(mode);
}
[[nodiscard]] constexpr const char* text_of(synchronous_mode mode) {
  return synchronous_modes.word_for(mode);
}
[[nodiscard]] constexpr const char* text_of(binding_phase phase) {
  return binding_phases.word_for(phase);
}
[[nodiscard]] constexpr const char* text_of(record_phase phase) {
  return record_phases.word_for(phase);
}

} // namespace matriarch::model
