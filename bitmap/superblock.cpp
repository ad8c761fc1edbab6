#include "bitmap/superblock.hpp"

#include <algorithm>

#include "base/assert.hpp"

namespace twinblock::bitmap {

void Superblock::push_generation(GenerationId id, SequenceNumber first, GenerationCause cause) {
  TB_ASSERT(id != GenerationId{});
  TB_ASSERT(generation_count <= generations.size());
  const GenerationId parent = current();
  std::shift_right(generations.begin(), generations.end(), 1);
  generations[0] = GenerationEntry{.id = id, .parent = parent, .first_sequence = first, .cause = cause};
  if (generation_count < generations.size()) ++generation_count;
}

}  // namespace twinblock::bitmap
