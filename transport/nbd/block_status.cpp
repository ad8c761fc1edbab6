#include "transport/nbd/block_status.hpp"

#include <algorithm>

#include "transport/nbd/reply.hpp"
#include "transport/nbd/wire_bytes.hpp"

namespace twinblock::nbd {
namespace {

// Walks the caller's extents as the client will see them: merged and clipped to the request.
class MergedExtents {
 public:
  MergedExtents(std::span<const StatusExtent> extents, ByteCount limit) : rest_{extents}, left_{limit} {}

  // The next extent; empty at the end.
  StatusExtent next() {
    StatusExtent merged;
    while (!rest_.empty() && left_ > ByteCount{0}) {
      const StatusExtent& extent = rest_.front();
      const bool starts = merged.length == ByteCount{0};
      if (!starts && extent.length > ByteCount{0} && extent.flags != merged.flags) break;
      const ByteCount taken = std::min(extent.length, left_);
      if (taken > ByteCount{0}) merged.flags = extent.flags;
      merged.length += taken;
      left_ -= taken;
      rest_ = rest_.subspan(1);
    }
    return merged;
  }

 private:
  std::span<const StatusExtent> rest_;
  ByteCount left_;
};

}  // namespace

std::size_t encode_block_status(const Request& request, const BlockStatus& status, std::span<std::byte> out) {
  TB_ASSERT(request.command == Command::kBlockStatus && request.form != ReplyForm::kSimple);
  TB_ASSERT(out.size() >= block_status_size(1));
  const bool extended = request.form == ReplyForm::kExtended;
  const std::size_t header = chunk_header_size(request.form);
  const std::size_t prefix = extended ? 8 : 4;
  const std::size_t entry = extended ? 16 : 8;
  std::size_t count_max = std::min((out.size() - header - prefix) / entry, kStatusExtentCountMax);
  if (request.has(kCommandReqOne)) count_max = 1;

  MergedExtents merged{status.extents, request.length};
  ByteWriter writer{out.subspan(header + prefix)};
  std::uint32_t count = 0;
  while (count < count_max) {
    const StatusExtent extent = merged.next();
    if (extent.length == ByteCount{0}) break;
    if (extended) {
      writer.u64(extent.length.value());
      writer.u64(extent.flags);
    } else {
      writer.u32(static_cast<std::uint32_t>(extent.length.value()));
      writer.u32(static_cast<std::uint32_t>(extent.flags));
    }
    ++count;
  }
  TB_ASSERT(count > 0);

  const ChunkType type = extended ? ChunkType::kBlockStatusExt : ChunkType::kBlockStatus;
  encode_chunk_header(request, {type, status.done, prefix + writer.size()}, out);
  ByteWriter ids{out.subspan(header)};
  ids.u32(static_cast<std::uint32_t>(status.context));
  if (extended) ids.u32(count);
  return header + prefix + writer.size();
}

}  // namespace twinblock::nbd
