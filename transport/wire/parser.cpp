#include "transport/wire/parser.hpp"

#include <algorithm>
#include <cstring>

#include "base/assert.hpp"

namespace twinblock::wire {
namespace {

// Moves what fits from the front of `in` to `to`; returns how much.
std::uint32_t move_bytes(std::span<const std::byte>& in, std::span<std::byte> to) {
  const std::size_t size = std::min(in.size(), to.size());
  if (size != 0) std::memcpy(to.data(), in.data(), size);
  in = in.subspan(size);
  return static_cast<std::uint32_t>(size);
}

}  // namespace

Parser::Parser(std::span<std::byte> scratch) : scratch_{scratch} {
  TB_ASSERT(scratch.size() >= kBodySizeMax);
}

void Parser::transition_to(State next) {
  const auto legal = [this, next] {
    switch (state_) {
      case State::header:
        return next != State::header && next != State::payload;
      case State::body:
      case State::payload:
        return next == State::delivered || next == State::failed;
      case State::buffer_wanted:
        return next == State::payload;
      case State::skip:
      case State::delivered:
        return next == State::header;
      case State::failed:
        return false;
    }
    return false;
  };
  TB_ASSERT(legal());
  state_ = next;
  filled_ = 0;
}

Parser::Event Parser::feed(std::span<const std::byte>& in) {
  if (state_ == State::delivered) {
    buffer_ = {};
    transition_to(State::header);
  }
  for (;;) {
    switch (state_) {
      case State::header:
        if (in.empty()) return Event::need_bytes;
        take_header(in);
        break;
      case State::body:
        if (in.empty()) return Event::need_bytes;
        take_body(in);
        break;
      case State::payload:
        if (in.empty()) return Event::need_bytes;
        take_payload(in);
        break;
      case State::skip:
        if (in.empty()) return Event::need_bytes;
        take_skipped(in);
        break;
      case State::buffer_wanted:
        return Event::need_buffer;
      case State::delivered:
        return Event::message;
      case State::failed:
        return Event::failed;
    }
  }
}

void Parser::take_header(std::span<const std::byte>& in) {
  if (filled_ == 0 && in.size() >= kHeaderSize) {
    const auto decoded = decode_header(in.first<kHeaderSize>());
    in = in.subspan(kHeaderSize);
    if (!decoded) return fail(decoded.error());
    header_ = *decoded;
    return begin_message();
  }
  filled_ += move_bytes(in, std::span{header_bytes_}.subspan(filled_));
  if (filled_ < kHeaderSize) return;
  const auto decoded = decode_header(header_bytes_);
  if (!decoded) return fail(decoded.error());
  header_ = *decoded;
  begin_message();
}

void Parser::begin_message() {
  if (!is_known(header_.type)) {
    ++skipped_count_;
    transition_to(State::skip);
    if (header_.wire_length == 0) transition_to(State::header);
  } else if (header_.wire_length == 0) {
    transition_to(State::delivered);
  } else {
    transition_to(carries_payload(header_.type) ? State::buffer_wanted : State::body);
  }
}

void Parser::take_body(std::span<const std::byte>& in) {
  filled_ += move_bytes(in, scratch_.first(header_.wire_length).subspan(filled_));
  if (filled_ == header_.wire_length) deliver_checked(scratch_.first(header_.wire_length));
}

void Parser::take_payload(std::span<const std::byte>& in) {
  filled_ += move_bytes(in, direct());
  if (filled_ == header_.wire_length) deliver_checked(buffer_);
}

void Parser::take_skipped(std::span<const std::byte>& in) {
  const std::size_t size = std::min<std::size_t>(in.size(), header_.wire_length - filled_);
  in = in.subspan(size);
  filled_ += static_cast<std::uint32_t>(size);
  if (filled_ == header_.wire_length) transition_to(State::header);
}

void Parser::deliver_checked(std::span<const std::byte> bytes) {
  if (const auto checked = check_payload(header_, bytes); !checked) return fail(checked.error());
  transition_to(State::delivered);
}

void Parser::fail(ErrorCode error) {
  error_ = error;
  transition_to(State::failed);
}

void Parser::supply(std::span<std::byte> buffer) {
  TB_ASSERT(state_ == State::buffer_wanted && buffer.size() >= header_.wire_length);
  buffer_ = buffer.first(header_.wire_length);
  transition_to(State::payload);
}

std::span<std::byte> Parser::direct() const {
  return state_ == State::payload ? buffer_.subspan(filled_) : std::span<std::byte>{};
}

Parser::Event Parser::received(std::size_t size) {
  if (state_ == State::failed) return Event::failed;
  TB_ASSERT(size <= direct().size());
  filled_ += static_cast<std::uint32_t>(size);
  if (state_ == State::payload && filled_ == header_.wire_length) deliver_checked(buffer_);
  std::span<const std::byte> nothing;
  return state_ == State::delivered ? Event::message : feed(nothing);
}

const Header& Parser::header() const {
  TB_ASSERT(state_ == State::delivered || state_ == State::buffer_wanted);
  return header_;
}

std::span<const std::byte> Parser::body() const {
  TB_ASSERT(state_ == State::delivered);
  return carries_payload(header_.type) ? std::span<const std::byte>{} : scratch_.first(header_.wire_length);
}

std::span<const std::byte> Parser::payload() const {
  TB_ASSERT(state_ == State::delivered);
  return buffer_;
}

bool Parser::at_boundary() const {
  return state_ == State::delivered || (state_ == State::header && filled_ == 0);
}

}  // namespace twinblock::wire
