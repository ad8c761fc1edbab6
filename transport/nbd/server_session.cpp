#include "transport/nbd/server_session.hpp"

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"

namespace twinblock::nbd {

ServerSession::ServerSession(const ExportCatalog& catalog, const Limits& limits)
    : limits_{limits},
      negotiation_{catalog, limits},
      stash_(limits.stash_size),
      output_(kNegotiationOutputMax) {
  TB_ASSERT(limits.stash_size >= kOptionHeaderSize + limits.option_length_max);
  TB_ASSERT(limits.option_length_max <= limits.option_skip_max && limits.in_flight_max > 0);
  ByteWriter out = begin_output();
  Negotiation::greet(out);
  end_output(out);
}

// --- receiving and sending -----------------------------------------------------------------------------

std::span<const std::byte> ServerSession::buffered() const {
  return std::span{stash_}.subspan(stash_begin_, stash_end_ - stash_begin_);
}

void ServerSession::consume(std::size_t n) {
  TB_ASSERT(n <= stash_end_ - stash_begin_);
  stash_begin_ += n;
}

std::span<std::byte> ServerSession::receive_space() {
  const std::size_t held = stash_end_ - stash_begin_;
  // What is held is less than one header or option when the parser is up to date: a cheap move.
  if (stash_begin_ > 0) {
    if (held > 0) std::memmove(stash_.data(), stash_.data() + stash_begin_, held);
    stash_begin_ = 0;
    stash_end_ = held;
  }
  return std::span{stash_}.subspan(stash_end_);
}

void ServerSession::received(std::size_t n) {
  TB_ASSERT(n <= stash_.size() - stash_end_);
  stash_end_ += n;
}

std::span<const std::byte> ServerSession::output() const {
  return std::span{output_}.subspan(output_begin_, output_end_ - output_begin_);
}

void ServerSession::output_sent(std::size_t n) {
  TB_ASSERT(n <= output_end_ - output_begin_);
  output_begin_ += n;
}

ByteWriter ServerSession::begin_output() {
  TB_ASSERT(output_begin_ == output_end_);
  output_begin_ = 0;
  output_end_ = 0;
  return ByteWriter{output_};
}

void ServerSession::end_output(const ByteWriter& writer) {
  output_end_ = writer.size();
}

// --- the machine ---------------------------------------------------------------------------------------

bool ServerSession::may_follow(State from, State to) {
  const auto one_of = [to](auto... states) { return ((to == states) || ...); };
  switch (from) {
    case State::kClientFlags:
      return one_of(State::kOption, State::kDropped);
    case State::kOption:
      return one_of(State::kSkipOption, State::kListing, State::kOpening, State::kDisconnected,
                    State::kDropped);
    case State::kSkipOption:
      return one_of(State::kOption);
    case State::kListing:
      return one_of(State::kOption);
    case State::kOpening:
      return one_of(State::kHeader);
    case State::kHeader:
      return one_of(State::kPayload, State::kDrain, State::kDisconnected, State::kDropped);
    case State::kPayload:
      return one_of(State::kHeader, State::kDrain);
    case State::kDrain:
      return one_of(State::kHeader);
    case State::kDisconnected:
    case State::kDropped:
      break;
  }
  return false;
}

void ServerSession::enter(State to) {
  TB_ASSERT(may_follow(state_, to));
  state_ = to;
}

Event ServerSession::next() {
  for (;;) {
    if (output_begin_ != output_end_) return SendOutput{};
    if (std::optional<Event> event = step()) return *event;
  }
}

std::optional<Event> ServerSession::step() {
  switch (state_) {
    case State::kClientFlags:
      return step_client_flags();
    case State::kOption:
      return step_option();
    case State::kSkipOption:
      return step_skip_option();
    case State::kListing:
      return step_listing();
    case State::kOpening:
      enter(State::kHeader);
      return Opened{};
    case State::kHeader:
      return step_header();
    case State::kPayload:
      return NeedPayload{ByteCount{remaining_}};
    case State::kDrain:
      return step_drain();
    case State::kDisconnected:
      return Disconnect{};
    case State::kDropped:
      return Drop{drop_reason_};
  }
  TB_ASSERT(false);
}

std::optional<Event> ServerSession::drop(errc reason) {
  drop_reason_ = reason;
  enter(State::kDropped);
  return Drop{reason};
}

std::optional<Event> ServerSession::apply(Negotiation::Outcome outcome) {
  using Next = Negotiation::Next;
  switch (outcome.next) {
    case Next::kOption:
      if (state_ != State::kOption) enter(State::kOption);
      return std::nullopt;
    case Next::kList:
      if (state_ != State::kListing) enter(State::kListing);
      return std::nullopt;
    case Next::kOpen: {
      const ExportInfo& info = negotiation_.export_info();
      rules_ = {info.size, info.block_size_min, info.features, limits_.payload_max,
                !negotiation_.contexts().empty()};
      handshake_done_ = true;
      enter(State::kOpening);
      return std::nullopt;
    }
    case Next::kClose:
      enter(State::kDisconnected);
      return std::nullopt;
    case Next::kDrop:
      return drop(outcome.reason);
  }
  TB_ASSERT(false);
}

std::optional<Event> ServerSession::step_client_flags() {
  if (buffered().size() < kClientFlagsSize) return NeedBytes{};
  const auto flags = load_be<std::uint32_t>(buffered(), 0);
  consume(kClientFlagsSize);
  return apply(negotiation_.client_flags(flags));
}

std::optional<Event> ServerSession::step_option() {
  const std::span<const std::byte> bytes = buffered();
  // The magic is judged as soon as it is there: garbage shall not sit out the deadline.
  if (bytes.size() >= 8 && load_be<std::uint64_t>(bytes, 0) != kOptionMagic)
    return drop(errc::kBadOptionMagic);
  if (bytes.size() < kOptionHeaderSize) return NeedBytes{};
  const auto option = load_be<std::uint32_t>(bytes, 8);
  const auto length = load_be<std::uint32_t>(bytes, 12);
  if (option_count_ == limits_.options_max) return drop(errc::kTooManyOptions);
  if (length > limits_.option_skip_max) return drop(errc::kOptionTooLong);
  if (length > limits_.option_length_max) {
    ++option_count_;
    consume(kOptionHeaderSize);
    skipped_option_ = option;
    remaining_ = length;
    if (option == static_cast<std::uint32_t>(Option::kExportName)) return drop(errc::kExportRefused);
    enter(State::kSkipOption);
    return std::nullopt;
  }
  if (bytes.size() < kOptionHeaderSize + length) return NeedBytes{};
  ++option_count_;
  consume(kOptionHeaderSize + length);
  const auto data = bytes.subspan(kOptionHeaderSize, length);
  ByteWriter out = begin_output();
  const Negotiation::Outcome outcome = negotiation_.option(option, data, out);
  end_output(out);
  return apply(outcome);
}

std::optional<Event> ServerSession::step_skip_option() {
  const std::size_t n = std::min<std::uint64_t>(remaining_, buffered().size());
  consume(n);
  remaining_ -= n;
  if (remaining_ > 0) return NeedBytes{};
  ByteWriter out = begin_output();
  negotiation_.refuse_too_big(skipped_option_, out);
  end_output(out);
  enter(State::kOption);
  return std::nullopt;
}

std::optional<Event> ServerSession::step_listing() {
  ByteWriter out = begin_output();
  const Negotiation::Outcome outcome = negotiation_.continue_list(out);
  end_output(out);
  return apply(outcome);
}

Verdict ServerSession::judge(const Request& request) const {
  if (stopping_) return {Status::kShutdown, "the server is stopping"};
  return check_request(request, rules_);
}

Event ServerSession::refuse(const Request& request, const Verdict& verdict) {
  ++outstanding_;
  return Refused{request, verdict.status, verdict.text};
}

std::optional<Event> ServerSession::step_header() {
  if (outstanding_ >= limits_.in_flight_max) return Busy{};
  const std::span<const std::byte> bytes = buffered();
  const std::size_t size = request_header_size(form());
  if (bytes.size() < size) return NeedBytes{};
  const Result<Request> decoded = decode_request(bytes.first(size), form());
  if (!decoded) return drop(static_cast<errc>(decoded.error().value()));
  consume(size);
  const Request& request = *decoded;
  if (request.command == Command::kDisconnect) {
    enter(State::kDisconnected);
    return Disconnect{};
  }
  const Result<ByteCount> payload = payload_length(request, limits_.payload_max);
  if (!payload) return drop(static_cast<errc>(payload.error().value()));
  const Verdict verdict = judge(request);
  remaining_ = payload->value();
  if (verdict.status != Status::kOk) {
    if (remaining_ == 0) return refuse(request, verdict);
    // The answer waits for the payload: some clients look up a cookie only once all of it has been sent.
    current_ = request;
    verdict_ = verdict;
    enter(State::kDrain);
    return std::nullopt;
  }
  if (remaining_ > 0) {
    current_ = request;
    enter(State::kPayload);
  }
  ++outstanding_;
  return Admitted{request};
}

std::optional<Event> ServerSession::step_drain() {
  const std::size_t n = std::min<std::uint64_t>(remaining_, buffered().size());
  consume(n);
  remaining_ -= n;
  if (remaining_ > 0) return NeedBytes{};
  enter(State::kHeader);
  return refuse(current_, verdict_);
}

// --- payload and bookkeeping ---------------------------------------------------------------------------

ByteCount ServerSession::payload_remaining() const {
  return ByteCount{state_ == State::kPayload ? remaining_ : 0};
}

std::size_t ServerSession::take_payload(std::span<std::byte> out) {
  const std::span<const std::byte> held = buffered();
  const std::size_t n =
      std::min<std::uint64_t>(payload_remaining().value(), std::min(out.size(), held.size()));
  if (n == 0) return 0;
  std::memcpy(out.data(), held.data(), n);
  consume(n);
  remaining_ -= n;
  if (remaining_ == 0) enter(State::kHeader);
  return n;
}

void ServerSession::payload_received(std::size_t n) {
  TB_ASSERT(n <= payload_remaining().value() && buffered().empty());
  if (n == 0) return;
  remaining_ -= n;
  if (remaining_ == 0) enter(State::kHeader);
}

void ServerSession::discard_payload(Status status, std::string_view text) {
  TB_ASSERT(payload_remaining() > ByteCount{0} && status != Status::kOk);
  TB_ASSERT(outstanding_ > 0);
  // Refused counts it again.
  --outstanding_;
  verdict_ = {status, text};
  enter(State::kDrain);
}

void ServerSession::request_done() {
  TB_ASSERT(outstanding_ > 0);
  --outstanding_;
}

void ServerSession::stop() {
  stopping_ = true;
  negotiation_.stop();
}

void ServerSession::set_size(ByteCount size) {
  TB_ASSERT(handshake_done_ && size.value() % rules_.block_size_min.value() == 0);
  rules_.size = size;
}

}  // namespace twinblock::nbd
