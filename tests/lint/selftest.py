"""The lint tests and the summary must be able to fail: each case breaks one rule in a temporary tree."""
import contextlib
import io
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import layering_test
import rules_test
import symbols_test

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import summary  # noqa: E402

GOOD = {
    "base/units.hpp": "#pragma once\n#include <cstdint>\n",
    "base/CMakeLists.txt": "twinblock_library(base SOURCES a.cpp)\n",
    "bitmap/dirty_map.hpp": '#pragma once\n#include "base/units.hpp"\n',
    "bitmap/CMakeLists.txt": "twinblock_library(bitmap SOURCES b.cpp PUBLIC base)\n",
    "transport/ring/loop.hpp": '#pragma once\n#include "base/units.hpp"\n',
    "transport/ring/CMakeLists.txt": "twinblock_library(ring SOURCES r.cpp PUBLIC base)\n",
    "replicator/core/core.cpp": '#include "bitmap/dirty_map.hpp"\n',
    "replicator/core/CMakeLists.txt": "twinblock_library(core SOURCES core.cpp PUBLIC bitmap PRIVATE base)\n",
    "replicator/control/protocol.hpp": "#pragma once\n",
    "replicator/control/http_server.hpp": "#pragma once\n",
    "replicator/engine/engine.cpp": '#include "replicator/core/core.hpp"\n#include "transport/ring/loop.hpp"\n',
    "replicator/core/core.hpp": "#pragma once\n",
    "cli/main.cpp": '#include "replicator/control/protocol.hpp"\n',
    "tests/unit/core/core_test.cpp": '#include "replicator/core/core.hpp"\n',
    "tests/system/wait.sh": "until ready; do sleep 0.05; done  # poll-interval: socket appears\n",
    "tests/system/use.py": "import subprocess\n",
}


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="twinblock-lint-"))
        self.addCleanup(shutil.rmtree, self.root)
        for name, text in GOOD.items():
            self.put(name, text)

    def put(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def expect(self, checker, *fragments):
        findings = checker(self.root)
        self.assertEqual(len(findings), 1, findings)
        for fragment in fragments:
            self.assertIn(fragment, findings[0])


class Layering(Tree):
    def test_good_tree_is_clean(self):
        self.assertEqual(layering_test.check(self.root), [])

    def test_reversed_include(self):
        self.put("bitmap/dirty_map.hpp", '#pragma once\n#include "replicator/core/core.hpp"\n')
        self.expect(layering_test.check, "bitmap/dirty_map.hpp:2", "bitmap must not include replicator/core")

    def test_core_must_not_see_the_ring(self):
        self.put("replicator/core/core.hpp", '#pragma once\n#  include "transport/ring/loop.hpp"\n')
        self.expect(layering_test.check, "replicator/core must not include transport/ring")

    def test_simulator_must_not_see_the_engine(self):
        self.put("replicator/engine/engine.hpp", "#pragma once\n")
        self.put("tests/sim/world.cpp", '#include "replicator/engine/engine.hpp"\n')
        self.expect(layering_test.check, "tests/sim must not include replicator/engine")

    def test_cli_sees_the_protocol_only(self):
        self.put("cli/main.cpp", '#include "replicator/control/http_server.hpp"\n')
        self.expect(layering_test.check, "cli may see only the control protocol")

    def test_include_relative_to_the_folder(self):
        self.put("bitmap/log.hpp", '#pragma once\n#include "dirty_map.hpp"\n')
        self.expect(layering_test.check, "not a path from the root")

    def test_file_in_no_room(self):
        self.put("attic/old.cpp", '#include "base/units.hpp"\n')
        self.expect(layering_test.check, "in no known room")

    def test_reversed_link_edge(self):
        self.put("bitmap/CMakeLists.txt", "twinblock_library(bitmap SOURCES b.cpp\n  PUBLIC base twinblock::core)\n")
        self.expect(layering_test.check, "bitmap (bitmap) must not link core (replicator/core)")

    def test_reversed_edge_by_target_link_libraries(self):
        self.put("replicator/core/CMakeLists.txt", "twinblock_library(core SOURCES core.cpp)\n"
                 "target_link_libraries(core PRIVATE ring)\n")
        self.expect(layering_test.check, "core (replicator/core) must not link ring (transport/ring)")


class Rules(Tree):
    def test_good_tree_is_clean(self):
        self.assertEqual(rules_test.check(self.root), [])

    def test_each_forbidden_thing(self):
        time_wait = "time." + "sleep(1)"
        cases = [
            ("bitmap/a.hpp", "#include <cstdint>\n", "no #pragma once"),
            ("base/a.cpp", "using namespace std;\n", "using namespace"),
            ("base/a.cpp", "int x;  // " + "TO" + "DO\n", "unfinished"),
            ("docs/a.md", "see /" + "home/somebody/x\n", "path of one machine"),
            ("base/a.cpp", "// " + "x" * 120 + "\n", "123 columns"),
            ("base/a.cpp", "int x;\n" * 701, "701 lines"),
            ("base/a.cpp", "void f(int a) {\n" + "  g();\n" * 120 + "}\n", "function of 122 lines"),
            ("replicator/core/impl.hpp", "#pragma once\n" + "int x;\n" * 580, "581 lines"),
            ("replicator/core/a.cpp", "#include <thread>\n", "only decides"),
            ("replicator/core/a.cpp", "#include <sys/socket.h>\n", "only decides"),
            ("replicator/core/a.cpp", "void f() { co_await x; }\n", "only decides"),
            ("replicator/core/a.cpp", "double rate;\n", "floating point"),
            ("bitmap/a.cpp", "std::unordered_map<int, int> m;\n", "only decides"),
            ("transport/nbd/a.cpp", "#include <boost/asio/ip/tcp.hpp>\n", "only decides"),
            ("base/a.hpp", "#pragma once\n#include <boost/json.hpp>\n", "in a header"),
            ("tests/unit/a.cpp", "void f() { std::this_thread::sleep_for(x); }\n", "wait for time"),
            ("tests/unit/a.cpp", "void f() { sleep(1); }\n", "wait for time"),
            ("tests/system/a.py", time_wait + "\n", "wait for time"),
            ("tests/system/a.sh", "sleep 2\n", "wait for time"),
            ("tests/system/a.sh", "while true; do sleep 0.1; done\n", "wait for time"),
        ]
        for name, text, expected in cases:
            with self.subTest(expected=expected, text=text[:40]):
                self.put(name, text)
                self.expect(rules_test.check, name, expected)
                (self.root / name).unlink()

    def test_comments_and_strings_are_not_code(self):
        self.put("replicator/core/a.cpp", '// std::thread has no place here\nconst char* s = "std::mutex double";\n')
        self.assertEqual(rules_test.check(self.root), [])

    def test_heavy_headers_in_too_many_sources(self):
        for index in range(4):
            self.put(f"cli/a{index}.cpp", "#include <boost/beast/core.hpp>\n")
        self.expect(rules_test.check, "in 4 sources")


class Symbols(Tree):
    def archive(self, name, text):
        compiler = shutil.which("g++") or shutil.which("clang++-16")
        if compiler is None:
            self.skipTest("no compiler")
        self.put(f"{name}.cpp", text)
        subprocess.run([compiler, "-c", f"{name}.cpp", "-o", f"{name}.o"], cwd=self.root, check=True)
        subprocess.run(["ar", "rc", f"lib{name}.a", f"{name}.o"], cwd=self.root, check=True)
        return str(self.root / f"lib{name}.a")

    def test_arrows_between_archives(self):
        base = self.archive("base", "namespace twinblock { void assertion() {} }")
        ring = self.archive("ring", "namespace twinblock::ring { void submit() {} }")
        good = self.archive("good", "namespace twinblock { void assertion(); void f() { assertion(); } }")
        bad = self.archive("bad", "namespace twinblock::ring { void submit(); } void f() { twinblock::ring::submit(); }")
        rows = [("base", "base", base), ("transport/ring", "ring", ring)]
        self.assertEqual(symbols_test.check(rows + [("bitmap", "bitmap", good)]), [])
        findings = symbols_test.check(rows + [("bitmap", "bitmap", bad)])
        self.assertEqual(len(findings), 1, findings)
        self.assertIn("defined in ring (transport/ring)", findings[0])

    def test_outside_world_in_a_room_that_decides(self):
        text = 'extern "C" int socket(int, int, int); int f() { return socket(1, 1, 0); }'
        rows = [("replicator/core", "core", self.archive("core", text))]
        self.assertEqual(len(symbols_test.check(rows)), 1)
        self.assertEqual(symbols_test.check([("transport/ring", "ring", rows[0][2])]), [])


class Summary(Tree):
    def run_summary(self, cases, stages=""):
        body = "".join(cases)
        (self.root / "release.xml").write_text(f"<testsuite>{body}</testsuite>")
        (self.root / "stages.txt").write_text(stages)
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            code = summary.main(self.root)
        return code, text.getvalue()

    PASS = '<testcase name="a" status="run"/>'
    FAIL = '<testcase name="b" status="fail"><failure message=""/></testcase>'
    SKIP = ('<testcase name="c" status="notrun"><skipped message="x"/><system-out>SKIP: no loop device'
            "</system-out></testcase>")
    GONE = '<testcase name="d" status="notrun"><skipped message="Unable to find executable"/></testcase>'

    def test_counts(self):
        code, text = self.run_summary([self.PASS, self.SKIP])
        self.assertEqual(code, 0)
        self.assertTrue(text.endswith("1 passed, 0 failed, 1 skipped\n"), text)
        self.assertIn("no loop device", text)

    def test_failures_and_missing_binaries_fail(self):
        for case in (self.FAIL, self.GONE):
            code, text = self.run_summary([self.PASS, case])
            self.assertEqual(code, 1)
            self.assertTrue(text.endswith("1 passed, 1 failed, 0 skipped\n"), text)

    def test_a_skip_inside_a_script_that_passed_is_seen(self):
        part = '<testcase name="e" status="run"><system-out>PASS x\nSKIP: y: no fuse\n</system-out></testcase>'
        code, text = self.run_summary([part])
        self.assertEqual(code, 0)
        self.assertTrue(text.endswith("1 passed, 0 failed, 1 skipped\n"), text)
        self.assertIn("e: y: no fuse", text)

    def test_nothing_ran_fails(self):
        self.assertEqual(self.run_summary([])[0], 1)
        self.assertEqual(self.run_summary([self.SKIP])[0], 1)

    def test_stages(self):
        stages = "passed\tbuild release\t10\nfailed\ttest release\t5\npassed\tfuzz wire\t15\nskipped\tsim\t0\n"
        code, text = self.run_summary([self.PASS, self.FAIL], stages)
        self.assertEqual(code, 1)
        self.assertTrue(text.endswith("2 passed, 1 failed, 1 skipped\n"), text)

    def test_stage_that_fails_without_a_failed_test(self):
        for stages in ("failed\ttest debug\t5\n", "failed\tbuild debug\t5\n"):
            code, text = self.run_summary([self.PASS], stages)
            self.assertEqual(code, 1)
            self.assertTrue(text.endswith("1 passed, 1 failed, 0 skipped\n"), text)


if __name__ == "__main__":
    unittest.main(verbosity=1)
