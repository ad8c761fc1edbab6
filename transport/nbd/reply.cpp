#include "transport/nbd/reply.hpp"

#include "transport/nbd/wire_bytes.hpp"

namespace twinblock::nbd {
namespace {

std::size_t encode_simple(const Request& request, Status status, std::span<std::byte> out) {
  ByteWriter writer{out};
  writer.u32(kSimpleReplyMagic);
  writer.u32(wire_error(status));
  writer.u64(request.cookie);
  return writer.size();
}

std::size_t encode_error_chunk(const Request& request, Status status, std::string_view text,
                               std::span<std::byte> out) {
  const std::string_view said = (text.empty() ? default_text(status) : text).substr(0, kErrorTextMax);
  const std::size_t header = encode_chunk_header(request, {ChunkType::kError, true, 6 + said.size()}, out);
  ByteWriter writer{out.subspan(header)};
  writer.u32(wire_error(status));
  writer.u16(static_cast<std::uint16_t>(said.size()));
  writer.text(said);
  return header + writer.size();
}

bool chunk_fits(const Request& request, const ReadChunk& chunk) {
  if (request.command != Command::kRead || chunk.range.empty()) return false;
  if (request.has(kCommandDf) && chunk.range != request.range()) return false;
  return request.range().contains(chunk.range);
}

}  // namespace

std::size_t encode_chunk_header(const Request& request, const ChunkHeader& header, std::span<std::byte> out) {
  TB_ASSERT(request.form != ReplyForm::kSimple);
  const bool extended = request.form == ReplyForm::kExtended;
  ByteWriter writer{out};
  writer.u32(extended ? kExtendedReplyMagic : kStructuredReplyMagic);
  writer.u16(header.done ? kChunkDone : std::uint16_t{0});
  writer.u16(static_cast<std::uint16_t>(header.type));
  writer.u64(request.cookie);
  if (extended) {
    writer.u64(request.offset.value());
    writer.u64(header.payload);
  } else {
    TB_ASSERT(header.payload <= UINT32_MAX);
    writer.u32(static_cast<std::uint32_t>(header.payload));
  }
  return writer.size();
}

std::size_t encode_data_chunk(const Request& request, const ReadChunk& chunk, std::span<std::byte> out) {
  TB_ASSERT(chunk_fits(request, chunk));
  const std::uint64_t payload = 8 + chunk.range.length.value();
  const std::size_t header = encode_chunk_header(request, {ChunkType::kOffsetData, chunk.done, payload}, out);
  ByteWriter writer{out.subspan(header)};
  writer.u64(chunk.range.offset.value());
  return header + writer.size();
}

std::size_t encode_hole_chunk(const Request& request, const ReadChunk& chunk, std::span<std::byte> out) {
  TB_ASSERT(chunk_fits(request, chunk) && chunk.range.length.value() <= UINT32_MAX);
  const std::size_t header = encode_chunk_header(request, {ChunkType::kOffsetHole, chunk.done, 12}, out);
  ByteWriter writer{out.subspan(header)};
  writer.u64(chunk.range.offset.value());
  writer.u32(static_cast<std::uint32_t>(chunk.range.length.value()));
  return header + writer.size();
}

std::size_t encode_reply(const Request& request, Status status, std::string_view text,
                         std::span<std::byte> out) {
  TB_ASSERT(out.size() >= kReplySizeMax);
  if (request.form == ReplyForm::kSimple) return encode_simple(request, status, out);
  if (status != Status::kOk) return encode_error_chunk(request, status, text, out);
  TB_ASSERT(request.command != Command::kBlockStatus);
  if (request.command == Command::kRead) return encode_data_chunk(request, {request.range(), true}, out);
  if (request.form == ReplyForm::kStructured) return encode_simple(request, status, out);
  return encode_chunk_header(request, {ChunkType::kNone, true, 0}, out);
}

}  // namespace twinblock::nbd
