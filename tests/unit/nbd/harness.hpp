// A client's bytes, a catalog, and a driver that plays the shell's part without a socket.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transport/nbd/block_status.hpp"
#include "transport/nbd/reply.hpp"
#include "transport/nbd/server_session.hpp"

namespace twinblock::nbd::test {

// Bytes as the wire has them, for building and for comparing.
class Bytes {
 public:
  Bytes& u16(std::uint64_t v) { return number(v, 2); }
  Bytes& u32(std::uint64_t v) { return number(v, 4); }
  Bytes& u64(std::uint64_t v) { return number(v, 8); }
  Bytes& text(std::string_view v) {
    bytes_.append(v);
    return *this;
  }
  Bytes& string(std::string_view v) { return u32(v.size()).text(v); }
  Bytes& fill(std::size_t count, char c) {
    bytes_.append(count, c);
    return *this;
  }
  [[nodiscard]] const std::string& str() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }

 private:
  Bytes& number(std::uint64_t v, int size) {
    for (int i = size - 1; i >= 0; --i) bytes_.push_back(static_cast<char>(v >> (8 * i) & 0xff));
    return *this;
  }
  std::string bytes_;
};

inline std::string client_flags(std::uint32_t flags = 3) {
  return Bytes{}.u32(flags).str();
}
inline std::string option(Option id, std::string_view data = {}) {
  return Bytes{}.u64(kOptionMagic).u32(static_cast<std::uint32_t>(id)).string(data).str();
}
inline std::string option_reply(Option id, OptionReply type, std::string_view data = {}) {
  return Bytes{}
      .u64(kOptionReplyMagic)
      .u32(static_cast<std::uint32_t>(id))
      .u32(static_cast<std::uint32_t>(type))
      .string(data)
      .str();
}
inline std::string go_data(std::string_view name, std::vector<std::uint16_t> wanted = {}) {
  Bytes data;
  data.string(name).u16(wanted.size());
  for (const std::uint16_t type : wanted) data.u16(type);
  return data.str();
}
inline std::string context_data(std::string_view name, const std::vector<std::string>& queries) {
  Bytes data;
  data.string(name).u32(queries.size());
  for (const std::string& query : queries) data.string(query);
  return data.str();
}

inline std::string header(const Request& request) {
  const bool extended = request.form == ReplyForm::kExtended;
  Bytes bytes;
  bytes.u32(extended ? kExtendedRequestMagic : kRequestMagic).u16(request.flags);
  bytes.u16(static_cast<std::uint16_t>(request.command)).u64(request.cookie).u64(request.offset.value());
  return (extended ? bytes.u64(request.length.value()) : bytes.u32(request.length.value())).str();
}
inline std::string pattern(std::size_t size, unsigned seed = 1) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 7 + seed * 131) & 0xff);
  return text;
}

inline ExportInfo make_export(std::string name, std::uint64_t size = 1u << 20) {
  ExportInfo info;
  info.name = std::move(name);
  info.size = ByteCount{size};
  return info;
}

class TestCatalog final : public ExportCatalog {
 public:
  explicit TestCatalog(std::vector<ExportInfo> exports) : exports_{std::move(exports)} {}
  std::size_t count() const override { return exports_.size(); }
  ExportInfo at(std::size_t index) const override { return exports_.at(index); }
  std::optional<ExportInfo> find(std::string_view name) const override {
    for (const ExportInfo& info : exports_) {
      if (name.empty() || info.name == name) return info;
    }
    return std::nullopt;
  }

 private:
  std::vector<ExportInfo> exports_;
};

inline std::string to_string(std::span<const std::byte> bytes) {
  return std::string{as_text(bytes)};
}

// What a session said, in order, as text that two runs can be compared by. Payloads are kept whole.
struct Transcript {
  std::string output;
  std::vector<std::string> events;
  std::vector<std::string> payloads;  // of admitted writes, as far as they came
  std::vector<Request> admitted;
  std::vector<Refused> refused;
  std::optional<errc> dropped;
  bool disconnected = false;
  bool busy = false;
  friend bool operator==(const Transcript& a, const Transcript& b) {
    return a.output == b.output && a.events == b.events && a.payloads == b.payloads && a.dropped == b.dropped;
  }
};

// Plays the shell: feeds pieces, takes payload, answers each request at once unless told to hold.
class Driver {
 public:
  explicit Driver(const ExportCatalog& catalog, const Limits& limits = {}) : session{catalog, limits} {
    run();
  }

  // Feeds in pieces of `piece` bytes; stops early when the session drops or disconnects.
  Driver& feed(std::string_view bytes, std::size_t piece = SIZE_MAX);
  // Handshake to the transmission phase; clears the transcript.
  Driver& open(ReplyForm form, std::string_view name = "data", const std::vector<std::string>& contexts = {});
  void run();

  ServerSession session;
  Transcript log;
  bool answer_at_once = true;

 private:
  bool handle(const Event& event);
  void give(std::string_view& bytes);
  bool needs_payload_ = false;
};

inline void Driver::run() {
  while (handle(session.next())) {
  }
}

// False: nothing more to do without bytes (or at all).
inline bool Driver::handle(const Event& event) {
  needs_payload_ = false;
  if (std::holds_alternative<SendOutput>(event)) {
    log.output += to_string(session.output());
    session.output_sent(session.output().size());
    return true;
  }
  if (std::holds_alternative<Opened>(event)) {
    log.events.push_back("opened " + session.export_info().name);
    return true;
  }
  if (const auto* e = std::get_if<Admitted>(&event)) {
    log.events.push_back("admitted " + header(e->request));
    log.admitted.push_back(e->request);
    if (e->request.command == Command::kWrite) log.payloads.emplace_back();
    if (answer_at_once) session.request_done();
    return true;
  }
  if (const auto* e = std::get_if<Refused>(&event)) {
    log.events.push_back("refused " + header(e->request) + std::string{e->text});
    log.refused.push_back(*e);
    if (answer_at_once) session.request_done();
    return true;
  }
  if (std::holds_alternative<NeedPayload>(event)) {
    std::vector<std::byte> buffer(1000);
    if (const std::size_t n = session.take_payload(buffer); n > 0) {
      log.payloads.back() += to_string(std::span{buffer}.first(n));
      return true;
    }
    needs_payload_ = true;
    return false;
  }
  log.busy = std::holds_alternative<Busy>(event);
  log.disconnected = std::holds_alternative<Disconnect>(event);
  if (const auto* e = std::get_if<Drop>(&event)) log.dropped = e->reason;
  return false;
}

inline void Driver::give(std::string_view& bytes) {
  if (needs_payload_) {
    const auto n = std::min<std::size_t>(bytes.size(), session.payload_remaining().value());
    log.payloads.back() += bytes.substr(0, n);
    session.payload_received(n);
    bytes.remove_prefix(n);
    return;
  }
  const std::span<std::byte> space = session.receive_space();
  const std::size_t n = std::min(bytes.size(), space.size());
  std::memcpy(space.data(), bytes.data(), n);
  session.received(n);
  bytes.remove_prefix(n);
}

inline Driver& Driver::feed(std::string_view bytes, std::size_t piece) {
  while (!bytes.empty()) {
    std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    while (!part.empty()) {
      if (log.dropped || log.disconnected || log.busy) return *this;
      give(part);
      run();
    }
  }
  return *this;
}

inline Driver& Driver::open(ReplyForm form, std::string_view name, const std::vector<std::string>& contexts) {
  feed(client_flags());
  if (form == ReplyForm::kStructured) feed(option(Option::kStructuredReply));
  if (form == ReplyForm::kExtended) feed(option(Option::kExtendedHeaders));
  if (!contexts.empty()) feed(option(Option::kSetMetaContext, context_data(name, contexts)));
  feed(option(Option::kGo, go_data(name)));
  log = {};
  return *this;
}

}  // namespace twinblock::nbd::test
