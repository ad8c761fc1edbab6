#include "transport/nbd/negotiation.hpp"

#include <algorithm>
#include <array>

namespace twinblock::nbd {
namespace {

using Outcome = Negotiation::Outcome;
using Next = Negotiation::Next;

struct ContextName {
  MetaContext id;
  std::string_view name;
};
constexpr std::array<ContextName, kMetaContextCount> kContextNames{{
    {MetaContext::kAllocation, "base:allocation"},
    {MetaContext::kDirty, "x-twinblock:dirty"},
}};

void reply_header(ByteWriter& out, std::uint32_t option, OptionReply type, std::size_t length) {
  out.u64(kOptionReplyMagic);
  out.u32(option);
  out.u32(static_cast<std::uint32_t>(type));
  out.u32(static_cast<std::uint32_t>(length));
}

// A reply that is a sentence, or nothing, for a human.
Outcome say(ByteWriter& out, Option option, OptionReply type, std::string_view text = {}) {
  const std::string_view cut = text.substr(0, kStringSizeMax);
  reply_header(out, static_cast<std::uint32_t>(option), type, cut.size());
  out.text(cut);
  return {};
}

// Reads fields off a client's option data; says so when there are too few bytes, never reads beyond them.
class OptionReader {
 public:
  explicit OptionReader(std::span<const std::byte> data) : rest_{data} {}

  std::optional<std::uint16_t> u16() { return number<std::uint16_t>(); }
  std::optional<std::uint32_t> u32() { return number<std::uint32_t>(); }
  // A string with its 32-bit length in front; nothing if it is longer than the protocol or the data allow.
  std::optional<std::string_view> string() {
    const auto size = u32();
    if (!size || *size > kStringSizeMax || *size > rest_.size()) return std::nullopt;
    const std::string_view text = as_text(rest_.first(*size));
    rest_ = rest_.subspan(*size);
    return text;
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }

 private:
  template <class T>
  std::optional<T> number() {
    if (rest_.size() < sizeof(T)) return std::nullopt;
    const T value = load_be<T>(rest_, 0);
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::span<const std::byte> rest_;
};

struct InfoQuery {
  std::string_view name;
  std::uint32_t wanted = 0;  // bit n: information type n
};

std::optional<InfoQuery> read_info_query(std::span<const std::byte> data) {
  OptionReader reader{data};
  const auto name = reader.string();
  if (!name) return std::nullopt;
  const auto count = reader.u16();
  if (!count) return std::nullopt;
  InfoQuery query{*name, 0};
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto type = reader.u16();
    if (!type) return std::nullopt;
    if (*type < 32) query.wanted |= 1u << *type;
  }
  if (!reader.at_end()) return std::nullopt;
  return query;
}

struct ContextQuery {
  std::string_view name;
  MetaContextSet matches;
};

// LIST takes "namespace:" as a wildcard and no query at all as "everything"; SET wants exact names.
std::optional<ContextQuery> read_context_query(std::span<const std::byte> data, bool listing) {
  OptionReader reader{data};
  const auto name = reader.string();
  if (!name) return std::nullopt;
  const auto count = reader.u32();
  if (!count) return std::nullopt;
  ContextQuery query{*name, {}};
  // The data's length bounds the loop: every query takes four bytes at least.
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto wanted = reader.string();
    if (!wanted) return std::nullopt;
    for (const ContextName& context : kContextNames) {
      const bool wildcard = listing && wanted->ends_with(':') && context.name.starts_with(*wanted);
      if (*wanted == context.name || wildcard) query.matches.insert(context.id);
    }
  }
  if (!reader.at_end()) return std::nullopt;
  if (listing && *count == 0) {
    for (const ContextName& context : kContextNames) query.matches.insert(context.id);
  }
  return query;
}

}  // namespace

void Negotiation::greet(ByteWriter& out) {
  out.u64(kServerMagic);
  out.u64(kOptionMagic);
  out.u16(kFlagFixedNewstyle | kFlagNoZeroes);
}

Outcome Negotiation::client_flags(std::uint32_t flags) {
  if ((flags & ~(kFlagFixedNewstyle | kFlagNoZeroes)) != 0) return {Next::kDrop, errc::kUnknownClientFlags};
  no_zeroes_ = (flags & kFlagNoZeroes) != 0;
  return {};
}

void Negotiation::reset() {
  form_ = ReplyForm::kSimple;
  contexts_.clear();
  contexts_of_.clear();
  export_.reset();
}

std::uint16_t Negotiation::transmission_flags(const ExportInfo& info) const {
  const ExportFeatures& f = info.features;
  const bool writable = !f.read_only;
  const std::array<std::pair<bool, std::uint16_t>, 10> rows{{
      {f.read_only, kReadOnly},
      {f.flush, kSendFlush},
      {f.fua, kSendFua},
      {f.rotational, kRotational},
      {f.trim && writable, kSendTrim},
      {f.write_zeroes && writable, kSendWriteZeroes},
      {form_ != ReplyForm::kSimple, kSendDf},
      {f.multi_conn, kCanMultiConn},
      {f.cache, kSendCache},
      {f.write_zeroes && f.fast_zero && writable, kSendFastZero},
  }};
  std::uint16_t flags = kHasFlags;
  for (const auto& [on, flag] : rows) {
    if (on) flags = static_cast<std::uint16_t>(flags | flag);
  }
  return flags;
}

Outcome Negotiation::option(std::uint32_t option, std::span<const std::byte> data, ByteWriter& out) {
  TB_ASSERT(out.room() >= kNegotiationOutputMax);
  const auto known = static_cast<Option>(option);
  if (known == Option::kAbort) {
    say(out, known, OptionReply::kAck);
    return {Next::kClose, {}};
  }
  if (known == Option::kExportName) return export_name(data, out);
  if (stopping_) return say(out, known, OptionReply::kErrShutdown, "the server is stopping");
  switch (known) {
    case Option::kList:
      return start_list(data, out);
    case Option::kInfo:
    case Option::kGo:
      return info_or_go(known, data, out);
    case Option::kStructuredReply:
    case Option::kExtendedHeaders:
      return agree_on_form(known, data, out);
    case Option::kListMetaContext:
    case Option::kSetMetaContext:
      return meta_context(known, data, out);
    case Option::kStartTls:
      if (!data.empty()) return say(out, known, OptionReply::kErrInvalid, "STARTTLS takes no data");
      return limits_.start_tls == StartTlsAnswer::kPolicy
                 ? say(out, known, OptionReply::kErrPolicy, "TLS is not configured for this listener")
                 : say(out, known, OptionReply::kErrUnsupported, "TLS is not supported");
    case Option::kExportName:
    case Option::kAbort:
      break;
  }
  return say(out, known, OptionReply::kErrUnsupported, "unknown option");
}

void Negotiation::refuse_too_big(std::uint32_t option, ByteWriter& out) const {
  say(out, static_cast<Option>(option), OptionReply::kErrTooBig, "the option is too long");
}

// The only option without an error reply: what cannot be served ends the connection.
Outcome Negotiation::export_name(std::span<const std::byte> data, ByteWriter& out) {
  if (form_ == ReplyForm::kExtended) return {Next::kDrop, errc::kExportNameAfterExtendedHeaders};
  if (stopping_ || data.size() > kStringSizeMax) return {Next::kDrop, errc::kExportRefused};
  export_ = catalog_.find(as_text(data));
  if (!export_ || !export_->open()) return {Next::kDrop, errc::kExportRefused};
  if (contexts_of_ != export_->name) contexts_.clear();
  out.u64(export_->size.value());
  out.u16(transmission_flags(*export_));
  if (!no_zeroes_) out.zeroes(124);
  return {Next::kOpen, {}};
}

Outcome Negotiation::start_list(std::span<const std::byte> data, ByteWriter& out) {
  if (!data.empty()) return say(out, Option::kList, OptionReply::kErrInvalid, "LIST takes no data");
  list_cursor_ = 0;
  return continue_list(out);
}

// One export per call, so that the output stays bounded however many there are.
Outcome Negotiation::continue_list(ByteWriter& out) {
  TB_ASSERT(out.room() >= kNegotiationOutputMax);
  if (list_cursor_ >= catalog_.count()) return say(out, Option::kList, OptionReply::kAck);
  const ExportInfo info = catalog_.at(list_cursor_++);
  const std::string_view name = std::string_view{info.name}.substr(0, kStringSizeMax);
  const std::string_view details = std::string_view{info.description}.substr(0, kStringSizeMax);
  reply_header(out, static_cast<std::uint32_t>(Option::kList), OptionReply::kServer,
               4 + name.size() + details.size());
  out.u32(static_cast<std::uint32_t>(name.size()));
  out.text(name);
  out.text(details);
  return {Next::kList, {}};
}

std::optional<ExportInfo> Negotiation::find_open(Option option, std::string_view name,
                                                 ByteWriter& out) const {
  std::optional<ExportInfo> info = catalog_.find(name);
  if (!info) {
    say(out, option, OptionReply::kErrUnknown, "no such export");
    return std::nullopt;
  }
  if (!info->open()) {
    say(out, option, OptionReply::kErrPolicy, info->refusal);
    return std::nullopt;
  }
  const std::uint64_t block = info->block_size_min.value();
  TB_ASSERT(block > 0 && (block & (block - 1)) == 0 && info->size.value() % block == 0);
  return info;
}

void Negotiation::write_info(Option option, const ExportInfo& info, std::uint32_t wanted,
                             ByteWriter& out) const {
  const auto header = [&](InfoType type, std::size_t length) {
    reply_header(out, static_cast<std::uint32_t>(option), OptionReply::kInfo, 2 + length);
    out.u16(static_cast<std::uint16_t>(type));
  };
  const auto wants = [&](InfoType type) { return (wanted >> static_cast<unsigned>(type) & 1u) != 0; };
  header(InfoType::kExport, 10);
  out.u64(info.size.value());
  out.u16(transmission_flags(info));
  if (wants(InfoType::kName)) {
    const std::string_view name = std::string_view{info.name}.substr(0, kStringSizeMax);
    header(InfoType::kName, name.size());
    out.text(name);
  }
  if (wants(InfoType::kDescription)) {
    const std::string_view text = std::string_view{info.description}.substr(0, kStringSizeMax);
    header(InfoType::kDescription, text.size());
    out.text(text);
  }
  // Sent unasked as well: a client that reads it spares itself EINVALs later.
  header(InfoType::kBlockSize, 12);
  out.u32(static_cast<std::uint32_t>(info.block_size_min.value()));
  out.u32(static_cast<std::uint32_t>(info.block_size_preferred.value()));
  out.u32(limits_.payload_max);
}

Outcome Negotiation::info_or_go(Option option, std::span<const std::byte> data, ByteWriter& out) {
  const std::optional<InfoQuery> query = read_info_query(data);
  if (!query) return say(out, option, OptionReply::kErrInvalid, "malformed INFO or GO");
  std::optional<ExportInfo> info = find_open(option, query->name, out);
  if (!info) return {};
  write_info(option, *info, query->wanted, out);
  say(out, option, OptionReply::kAck);
  if (option == Option::kInfo) return {};
  if (contexts_of_ != info->name) contexts_.clear();
  export_ = std::move(info);
  return {Next::kOpen, {}};
}

Outcome Negotiation::agree_on_form(Option option, std::span<const std::byte> data, ByteWriter& out) {
  if (!data.empty()) return say(out, option, OptionReply::kErrInvalid, "this option takes no data");
  if (option == Option::kExtendedHeaders) {
    form_ = ReplyForm::kExtended;
  } else if (form_ == ReplyForm::kExtended) {
    return say(out, option, OptionReply::kErrExtendedHeaderRequired, "extended headers are in force");
  } else {
    form_ = ReplyForm::kStructured;
  }
  return say(out, option, OptionReply::kAck);
}

Outcome Negotiation::meta_context(Option option, std::span<const std::byte> data, ByteWriter& out) {
  const bool listing = option == Option::kListMetaContext;
  // A selection replaces the one before it, and one that fails selects nothing.
  if (!listing) contexts_.clear();
  if (form_ == ReplyForm::kSimple) {
    return say(out, option, OptionReply::kErrInvalid, "metadata contexts need structured replies");
  }
  const std::optional<ContextQuery> query = read_context_query(data, listing);
  if (!query) return say(out, option, OptionReply::kErrInvalid, "malformed metadata context query");
  const std::optional<ExportInfo> info = find_open(option, query->name, out);
  if (!info) return {};
  for (const ContextName& context : kContextNames) {
    if (!query->matches.contains(context.id)) continue;
    reply_header(out, static_cast<std::uint32_t>(option), OptionReply::kMetaContext, 4 + context.name.size());
    out.u32(listing ? 0 : static_cast<std::uint32_t>(context.id));
    out.text(context.name);
  }
  if (!listing) {
    contexts_ = query->matches;
    contexts_of_ = info->name;
  }
  return say(out, option, OptionReply::kAck);
}

}  // namespace twinblock::nbd
