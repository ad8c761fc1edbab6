#include "transport/nbd/request.hpp"

#include "transport/nbd/wire_bytes.hpp"

namespace twinblock::nbd {
namespace {

// What a command takes. FUA is accepted on all of them, as the protocol demands.
struct CommandRule {
  bool known = false;
  std::uint16_t flags = 0;
  bool ranged = false;    // offset and length mean something
  bool modifies = false;  // needs a writable export
  bool past_end_is_no_space = false;
};

constexpr CommandRule rule_for(Command command) {
  switch (command) {
    case Command::kRead:
      return {true, kCommandDf, true, false, false};
    case Command::kWrite:
      return {true, kCommandPayloadLen, true, true, true};
    case Command::kFlush:
      return {true, 0, false, false, false};
    case Command::kTrim:
      return {true, 0, true, true, false};
    case Command::kCache:
      return {true, 0, true, false, false};
    case Command::kWriteZeroes:
      return {true, kCommandNoHole | kCommandFastZero, true, true, true};
    case Command::kBlockStatus:
      return {true, kCommandReqOne, true, false, false};
    case Command::kDisconnect:
      break;
  }
  return {};
}

constexpr bool offered(Command command, const RequestRules& rules) {
  if (command == Command::kTrim) return rules.features.trim;
  if (command == Command::kWriteZeroes) return rules.features.write_zeroes;
  return true;
}

constexpr bool flags_fit(const Request& request, const CommandRule& rule, const RequestRules& rules) {
  if ((request.flags & ~(rule.flags | kCommandFua)) != 0) return false;
  if (request.has(kCommandDf) && request.form == ReplyForm::kSimple) return false;
  if (request.has(kCommandPayloadLen) && request.form != ReplyForm::kExtended) return false;
  return !request.has(kCommandFastZero) || rules.features.fast_zero;
}

constexpr bool in_bounds(const Request& request, ByteCount size) {
  return request.length <= size && request.offset.value() <= (size - request.length).value();
}

Verdict check_range(const Request& request, const CommandRule& rule, const RequestRules& rules) {
  if (request.length == ByteCount{0}) return {Status::kInvalid, "length is zero"};
  if (!in_bounds(request, rules.size)) {
    if (rule.past_end_is_no_space) return {Status::kNoSpace, "beyond the end of the export"};
    return {Status::kInvalid, "beyond the end of the export"};
  }
  const std::uint64_t mask = rules.block_size_min.value() - 1;
  if (((request.offset.value() | request.length.value()) & mask) != 0) {
    return {Status::kInvalid, "offset or length is not a multiple of the minimum block size"};
  }
  if (request.command == Command::kRead && request.length.value() > rules.payload_max) {
    if (request.has(kCommandDf)) return {Status::kOverflow, "longer than the maximum payload"};
    return {Status::kInvalid, "longer than the maximum payload"};
  }
  return {};
}

}  // namespace

Result<Request> decode_request(std::span<const std::byte> header, ReplyForm form) {
  const bool extended = form == ReplyForm::kExtended;
  if (load_be<std::uint32_t>(header, 0) != (extended ? kExtendedRequestMagic : kRequestMagic)) {
    return make_error_code(errc::kBadRequestMagic);
  }
  Request request;
  request.flags = load_be<std::uint16_t>(header, 4);
  request.command = static_cast<Command>(load_be<std::uint16_t>(header, 6));
  request.cookie = load_be<std::uint64_t>(header, 8);
  request.offset = ByteOffset{load_be<std::uint64_t>(header, 16)};
  request.length =
      ByteCount{extended ? load_be<std::uint64_t>(header, 24) : load_be<std::uint32_t>(header, 24)};
  request.form = form;
  return request;
}

Result<ByteCount> payload_length(const Request& request, std::uint32_t payload_max) {
  const bool is_write = request.command == Command::kWrite;
  bool has_payload = is_write;
  if (request.form == ReplyForm::kExtended) {
    has_payload = request.has(kCommandPayloadLen);
    if (is_write && !has_payload) return make_error_code(errc::kWriteWithoutPayloadFlag);
  }
  if (!has_payload) return ByteCount{0};
  if (request.length.value() > payload_max) return make_error_code(errc::kPayloadTooLong);
  return request.length;
}

Verdict check_request(const Request& request, const RequestRules& rules) {
  const CommandRule rule = rule_for(request.command);
  if (!rule.known || !offered(request.command, rules)) return {Status::kInvalid, "unknown command"};
  if (!flags_fit(request, rule, rules)) return {Status::kInvalid, "a flag is unknown or was not negotiated"};
  if (rule.modifies && rules.features.read_only) return {Status::kPermission, "the export is read-only"};
  if (request.command == Command::kBlockStatus && !rules.has_contexts) {
    return {Status::kInvalid, "no metadata context was negotiated"};
  }
  return rule.ranged ? check_range(request, rule, rules) : Verdict{};
}

}  // namespace twinblock::nbd
