// Option haggling of the fixed newstyle handshake: one option in, its replies out. Pure apart from the
// catalog it asks; framing, skipping and buffering are the session's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "transport/nbd/export.hpp"
#include "transport/nbd/protocol.hpp"
#include "transport/nbd/request.hpp"
#include "transport/nbd/wire_bytes.hpp"

namespace twinblock::nbd {

// Replies to one option (of LIST: to one export) never take more than this: an INFO reply with a name and a
// description of kStringSizeMax each.
inline constexpr std::size_t kNegotiationOutputMax = 12u << 10;

class Negotiation {
 public:
  enum class Next : std::uint8_t {
    kOption,  // read the next one
    kList,    // call continue_list() with an empty output until it says something else
    kOpen,    // the transmission phase begins after the output
    kClose,   // send the output, then close
    kDrop,    // close without an answer; reason says why
  };
  struct Outcome {
    Next next = Next::kOption;
    errc reason{};
  };

  // `catalog` must outlive the negotiation.
  Negotiation(const ExportCatalog& catalog, const Limits& limits) : catalog_{catalog}, limits_{limits} {}

  static void greet(ByteWriter& out);
  [[nodiscard]] Outcome client_flags(std::uint32_t flags);
  // REQUIRES: out.room() >= kNegotiationOutputMax (also below).
  [[nodiscard]] Outcome option(std::uint32_t option, std::span<const std::byte> data, ByteWriter& out);
  [[nodiscard]] Outcome continue_list(ByteWriter& out);
  // Answers an option whose data was skipped for its length.
  void refuse_too_big(std::uint32_t option, ByteWriter& out) const;

  // Forgets what was agreed. STARTTLS demands it once the channel is encrypted: nothing an eavesdropper
  // could have injected in clear text may stay in force.
  void reset();
  // From now on every option but ABORT is answered ERR_SHUTDOWN.
  void stop() { stopping_ = true; }

  [[nodiscard]] ReplyForm form() const noexcept { return form_; }
  [[nodiscard]] MetaContextSet contexts() const noexcept { return contexts_; }
  // REQUIRES: kOpen was returned.
  [[nodiscard]] const ExportInfo& export_info() const { return *export_; }
  [[nodiscard]] std::uint16_t transmission_flags(const ExportInfo& info) const;

 private:
  Outcome export_name(std::span<const std::byte> data, ByteWriter& out);
  Outcome start_list(std::span<const std::byte> data, ByteWriter& out);
  Outcome info_or_go(Option option, std::span<const std::byte> data, ByteWriter& out);
  Outcome agree_on_form(Option option, std::span<const std::byte> data, ByteWriter& out);
  Outcome meta_context(Option option, std::span<const std::byte> data, ByteWriter& out);
  void write_info(Option option, const ExportInfo& info, std::uint32_t wanted, ByteWriter& out) const;
  // The open export of that name, or the error reply is written.
  std::optional<ExportInfo> find_open(Option option, std::string_view name, ByteWriter& out) const;

  const ExportCatalog& catalog_;
  const Limits limits_;
  ReplyForm form_ = ReplyForm::kSimple;
  bool no_zeroes_ = false;
  bool stopping_ = false;
  std::size_t list_cursor_ = 0;
  MetaContextSet contexts_;
  std::string contexts_of_;  // the export that contexts_ were selected for
  std::optional<ExportInfo> export_;
};

}  // namespace twinblock::nbd
