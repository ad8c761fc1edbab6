// Real clients against the session: what the specification means is what they do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>

#include "tests/unit/nbd/test_server.hpp"

namespace twinblock::nbd::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
  int exit = -1;
  std::string text;  // both streams
};

// Every command has a time limit of its own: a hang is a failure, not a stuck suite.
Outcome shell(const std::string& command) {
  Outcome outcome;
  const std::string line = "timeout 60 sh -c '" + command + "' 2>&1";
  std::FILE* pipe = ::popen(line.c_str(), "re");
  if (pipe == nullptr) return outcome;
  char buffer[4096];
  while (const std::size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) outcome.text.append(buffer, n);
  const int status = ::pclose(pipe);
  outcome.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

bool missing(const std::string& tool) {
  return shell("command -v " + tool).exit != 0;
}

#define NEEDS_TOOL(tool) \
  if (missing(tool)) GTEST_SKIP() << (tool) << " is not installed"

class Clients : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSize = 16u << 20;
  static std::vector<ExportInfo> exports() {
    ExportInfo data = make_export("data", kSize);
    data.description = "first mirror";
    ExportInfo target = make_export("elsewhere", kSize);
    target.refusal = "elsewhere is a target here; its source is alpha";
    ExportInfo read_only = make_export("frozen", kSize);
    read_only.features.read_only = true;
    return {data, target, read_only};
  }
  std::string file(const std::string& name, const std::string& content) const {
    std::string path = server.directory() / name;
    std::ofstream{path, std::ios::binary} << content;
    return path;
  }
  static std::string slurp(const std::string& path) {
    std::ifstream in{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  // A script for Debian's interpreter, where python3-libnbd lives. `h` is connected and `uri` is set.
  Outcome nbdsh(const std::string& script, const std::string& setup = "") {
    const std::string uri = "uri = \"" + server.uri() + "\"\n";
    const std::string path = file("script.py", "import nbd\n" + uri + "h = nbd.NBD()\n" + setup +
                                                   "h.connect_uri(uri)\n" + script + "\nprint(\"done\")\n");
    return shell("/usr/bin/python3 " + path);
  }
  static bool no_libnbd() { return shell("/usr/bin/python3 -c \"import nbd\"").exit != 0; }

  TestCatalog catalog{exports()};
  MemoryDisk disk{kSize};
  TestServer server{catalog, disk};
};

TEST_F(Clients, NbdinfoShowsTheExport) {
  NEEDS_TOOL("nbdinfo");
  const Outcome got = shell("nbdinfo --json \"" + server.uri() + "\"");
  ASSERT_EQ(got.exit, 0) << got.text;
  for (const char* part : {"newstyle-fixed", "\"structured\": true", "\"export-size\": 16777216",
                           "first mirror", "base:allocation", "x-twinblock:dirty", "\"can_fast_zero\": true",
                           "\"can_multi_conn\": true", "\"can_df\": true", "\"block_size_minimum\": 512",
                           "\"block_size_preferred\": 4096", "\"block_size_maximum\": 33554432"}) {
    EXPECT_THAT(got.text, HasSubstr(part));
  }
}

TEST_F(Clients, NbdinfoListsAndIsToldWhyATargetIsNotServed) {
  NEEDS_TOOL("nbdinfo");
  const Outcome refused = shell("nbdinfo \"" + server.uri("elsewhere") + "\"");
  EXPECT_NE(refused.exit, 0);
  EXPECT_THAT(refused.text, HasSubstr("elsewhere"));
  const Outcome list = shell("LIBNBD_DEBUG=1 nbdinfo --list \"" + server.uri() + "\"");
  EXPECT_THAT(list.text, HasSubstr("elsewhere is a target here; its source is alpha"));
  const Outcome unknown = shell("nbdinfo \"" + server.uri("nobody") + "\"");
  EXPECT_NE(unknown.exit, 0);
}

TEST_F(Clients, NbdinfoMapsBothContexts) {
  NEEDS_TOOL("nbdinfo");
  disk.write({ByteOffset{1u << 20}, ByteCount{64u << 10}}, std::vector<std::byte>(64u << 10, std::byte{1}));
  const Outcome allocation = shell("nbdinfo --map \"" + server.uri() + "\"");
  EXPECT_EQ(allocation.exit, 0) << allocation.text;
  EXPECT_THAT(allocation.text, HasSubstr("hole,zero"));
  EXPECT_THAT(allocation.text, HasSubstr("data"));
  const Outcome dirty = shell("nbdinfo --map=x-twinblock:dirty \"" + server.uri() + "\"");
  EXPECT_EQ(dirty.exit, 0) << dirty.text;
  EXPECT_THAT(dirty.text, ::testing::ContainsRegex("1048576 +65536 +1"));
}

TEST_F(Clients, NbdcopyThereAndBack) {
  NEEDS_TOOL("nbdcopy");
  std::string content = pattern(kSize, 5);
  content.replace(3u << 20, 2u << 20, std::string(2u << 20, '\0'));
  const std::string source = file("source.img", content);
  const Outcome in = shell("nbdcopy --connections=4 " + source + " \"" + server.uri() + "\"");
  ASSERT_EQ(in.exit, 0) << in.text;
  EXPECT_TRUE(disk.contents() == content);
  const std::string back = server.directory() / "back.img";
  const Outcome out = shell("nbdcopy --connections=4 \"" + server.uri() + "\" " + back);
  ASSERT_EQ(out.exit, 0) << out.text;
  EXPECT_TRUE(slurp(back) == content);
  EXPECT_EQ(server.drop_reasons(), "");
}

// Every command through libnbd, with its own strict checks off where the server's are the subject.
TEST_F(Clients, LibnbdCommandsAndRefusals) {
  if (no_libnbd()) GTEST_SKIP() << "python3-libnbd is not installed";
  const Outcome got = nbdsh(R"py(
import errno
h.set_strict_mode(0)
def fails(code, call):
    try:
        call()
    except nbd.Error as e:
        assert e.errno == code, (e.errno, code, str(e))
    else:
        raise AssertionError("not refused")
data = bytes(range(256)) * 16
h.pwrite(data, 8192, nbd.CMD_FLAG_FUA)
assert h.pread(4096, 8192) == data
h.pwrite(data * 512, 1 << 20)
assert h.pread(4096 * 512, 1 << 20, nbd.CMD_FLAG_DF) == data * 512
h.flush(); h.cache(4096, 0)
h.zero(512, 8192, nbd.CMD_FLAG_NO_HOLE)
h.zero(512, 8704, nbd.CMD_FLAG_FAST_ZERO)
h.trim(512, 9216)
assert h.pread(4096, 8192) == bytes(1536) + data[1536:]
size = h.get_size()
fails("ENOSPC", lambda: h.pwrite(data, size))
assert h.pread(4096, 1 << 20) == data
fails("EINVAL", lambda: h.pread(512, size))
fails("EINVAL", lambda: h.pread(100, 0))
fails("EINVAL", lambda: h.pwrite(data[:100], 0))
fails("EINVAL", lambda: h.pwrite(data, 1))
fails("EINVAL", lambda: h.zero(0, 0))
fails("EINVAL", lambda: h.pread(512, 0, 0x40))
fails("ENOSPC", lambda: h.zero(1024, size - 512))
fails("EINVAL", lambda: h.trim(1024, size - 512))
assert h.pread(512, 0) == bytes(512)
pending = []
for i in range(64):
    block = nbd.Buffer.from_bytearray(bytearray([i]) * 4096)
    pending.append(h.aio_pwrite(block, (2 << 20) + 4096 * i))
while pending:
    h.poll(-1)
    pending = [c for c in pending if not h.aio_command_completed(c)]
for i in range(64):
    assert h.pread(4096, (2 << 20) + 4096 * i) == bytes([i]) * 4096
h.shutdown()
)py");
  EXPECT_EQ(got.exit, 0) << got.text;
  EXPECT_THAT(got.text, HasSubstr("done"));
  EXPECT_EQ(server.drop_reasons(), "");
}

TEST_F(Clients, LibnbdOldFormsWork) {
  if (no_libnbd()) GTEST_SKIP() << "python3-libnbd is not installed";
  const std::string exercise = R"py(
h.pwrite(b"a" * 512, 512)
assert h.pread(1024, 0) == bytes(512) + b"a" * 512
h.shutdown()
)py";
  const Outcome simple = nbdsh(exercise, "h.set_request_structured_replies(False)\n");
  EXPECT_EQ(simple.exit, 0) << simple.text;
  const Outcome zeroes = nbdsh(exercise, "h.set_handshake_flags(nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE)\n");
  EXPECT_EQ(zeroes.exit, 0) << zeroes.text;
  // Without fixed newstyle a client can only say EXPORT_NAME.
  const Outcome oldest = nbdsh(exercise, "h.set_handshake_flags(0)\n");
  EXPECT_EQ(oldest.exit, 0) << oldest.text;
}

TEST_F(Clients, LibnbdReadOnlyExportRefusesWrites) {
  if (no_libnbd()) GTEST_SKIP() << "python3-libnbd is not installed";
  const Outcome got = nbdsh(R"py(
assert h.is_read_only()
h.set_strict_mode(0)
try:
    h.pwrite(b"a" * 512, 0)
except nbd.Error as e:
    assert e.errno == "EPERM", e.errno
else:
    raise AssertionError("not refused")
assert h.pread(512, 0) == bytes(512)
)py",
                            "uri = uri.replace(\"/data\", \"/frozen\")\n");
  EXPECT_EQ(got.exit, 0) << got.text;
}

TEST_F(Clients, QemuImgConvertsAndCompares) {
  NEEDS_TOOL("qemu-img");
  std::string content = pattern(kSize, 9);
  content.replace(5u << 20, 4u << 20, std::string(4u << 20, '\0'));
  const std::string source = file("source.img", content);
  const Outcome in = shell("qemu-img convert -n -f raw -O raw " + source + " \"" + server.uri() + "\"");
  ASSERT_EQ(in.exit, 0) << in.text;
  EXPECT_TRUE(disk.contents() == content);
  const Outcome same = shell("qemu-img compare -f raw -F raw " + source + " \"" + server.uri() + "\"");
  EXPECT_EQ(same.exit, 0) << same.text;
  const Outcome map = shell("qemu-img map -f raw --output=json \"" + server.uri() + "\"");
  EXPECT_EQ(map.exit, 0) << map.text;
}

// Unlike libnbd, qemu shows the server's sentence to its user.
TEST_F(Clients, QemuIsToldWhyATargetIsNotServed) {
  NEEDS_TOOL("qemu-img");
  const Outcome got = shell("qemu-img info \"" + server.uri("elsewhere") + "\"");
  EXPECT_NE(got.exit, 0);
  EXPECT_THAT(got.text, HasSubstr("elsewhere is a target here; its source is alpha"));
}

TEST_F(Clients, QemuIoWritesZeroesDiscardsFlushes) {
  NEEDS_TOOL("qemu-io");
  const std::string script =
      "qemu-io -f raw -c \"write -P 0xab 1M 128k\" -c \"write -f -P 0xcd 1M 4k\" -c \"write -z -u 2M 1M\" "
      "-c \"discard 1088k 64k\" -c flush -c \"read -P 0xcd 1M 4k\" -c \"read -P 0xab 1028k 60k\" "
      "-c \"read -P 0 1088k 64k\" \"";
  const Outcome got = shell(script + server.uri() + "\"");
  EXPECT_EQ(got.exit, 0) << got.text;
  EXPECT_THAT(got.text, Not(HasSubstr("Pattern verification failed")));
}

}  // namespace
}  // namespace twinblock::nbd::test
