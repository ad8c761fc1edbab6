// Feeds a client's bytes to an NBD session in pieces that the input chooses, and plays the shell. Invariants:
// what is admitted lies within the export, and no more requests are outstanding than allowed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/assert.hpp"
#include "transport/nbd/block_status.hpp"
#include "transport/nbd/reply.hpp"
#include "transport/nbd/server_session.hpp"

namespace {

namespace nbd = twinblock::nbd;
using twinblock::ByteCount;
using twinblock::ByteOffset;

constexpr ByteCount kSize{1u << 20};

class Catalog final : public nbd::ExportCatalog {
 public:
  std::size_t count() const override { return 2; }
  nbd::ExportInfo at(std::size_t index) const override {
    nbd::ExportInfo info;
    info.name = index == 0 ? "data" : "closed";
    info.size = kSize;
    if (index == 1) info.refusal = "a target";
    return info;
  }
  std::optional<nbd::ExportInfo> find(std::string_view name) const override {
    if (name == "closed") return at(1);
    if (name.empty() || name == "data") return at(0);
    return std::nullopt;
  }
};

class Shell {
 public:
  Shell(std::span<const std::byte> input, std::size_t piece) : input_{input}, piece_{piece} {}

  void run() {
    while (handle(session_.next())) TB_ASSERT(session_.outstanding() <= nbd::Limits{}.in_flight_max);
  }

 private:
  bool handle(const nbd::Event& event) {
    if (std::holds_alternative<nbd::NeedBytes>(event)) return receive(session_.receive_space());
    if (std::holds_alternative<nbd::NeedPayload>(event)) return take_payload();
    if (std::holds_alternative<nbd::SendOutput>(event)) session_.output_sent(session_.output().size());
    if (const auto* e = std::get_if<nbd::Admitted>(&event)) answer(e->request, nbd::Status::kOk);
    if (const auto* e = std::get_if<nbd::Refused>(&event)) answer(e->request, e->status);
    const bool over =
        std::holds_alternative<nbd::Drop>(event) || std::holds_alternative<nbd::Disconnect>(event);
    TB_ASSERT(!std::holds_alternative<nbd::Busy>(event));
    return !over;
  }

  std::size_t move_input(std::span<std::byte> to) {
    const std::size_t n = std::min({to.size(), piece_, input_.size()});
    if (n > 0) std::memcpy(to.data(), input_.data(), n);
    input_ = input_.subspan(n);
    return n;
  }
  bool receive(std::span<std::byte> space) {
    TB_ASSERT(!space.empty());
    const std::size_t n = move_input(space);
    session_.received(n);
    return n > 0;
  }
  bool take_payload() {
    std::array<std::byte, 512> buffer{};
    if (session_.take_payload(buffer) > 0) return true;
    const auto wanted = std::min<std::uint64_t>(buffer.size(), session_.payload_remaining().value());
    const std::size_t n = move_input(std::span{buffer}.first(wanted));
    session_.payload_received(n);
    return n > 0;
  }
  void answer(const nbd::Request& request, nbd::Status status) {
    const bool ranged = request.command != nbd::Command::kFlush;
    if (status == nbd::Status::kOk && ranged) {
      TB_ASSERT(request.length <= kSize && request.range().end() <= ByteOffset{kSize.value()});
    }
    std::array<std::byte, nbd::kReplySizeMax> out{};
    if (status == nbd::Status::kOk && request.command == nbd::Command::kBlockStatus) {
      const std::array<nbd::StatusExtent, 2> extents{{{ByteCount{4096}, 1}, {kSize, 0}}};
      TB_ASSERT(nbd::encode_block_status(request, {nbd::MetaContext::kDirty, extents, true}, out) <=
                out.size());
    } else {
      TB_ASSERT(nbd::encode_reply(request, status, "why", out) <= out.size());
    }
    session_.request_done();
  }

  Catalog catalog_;
  nbd::ServerSession session_{catalog_};
  std::span<const std::byte> input_;
  std::size_t piece_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // The first byte: how finely the rest is cut.
  const std::size_t piece = data[0] == 0 ? size : data[0];
  Shell shell{std::as_bytes(std::span{data, size}.subspan(1)), piece};
  shell.run();
  return 0;
}
