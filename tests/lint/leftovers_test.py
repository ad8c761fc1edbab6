"""The check for leftovers finds each kind of them, and nothing of anybody else."""
import contextlib
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import leftovers  # noqa: E402


class Leftovers(unittest.TestCase):
    def setUp(self):
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="tb-run-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def found(self):
        return leftovers.check(self.directory)

    def sleeper(self, **options):
        """A process that does nothing until it is ended."""
        child = subprocess.Popen(["tail", "-f", "/dev/null"], **options)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        return child

    def end(self, child):
        child.kill()
        child.wait()

    def test_nothing(self):
        self.assertEqual(self.found(), [])
        self.assertEqual(leftovers.main(self.directory), 0)
        self.assertFalse(os.path.exists(self.directory), "an empty directory is removed")

    def test_a_process_by_its_environment(self):
        child = self.sleeper(env={**os.environ, leftovers.VARIABLE: self.directory})
        self.assertEqual(len(self.found()), 1)
        self.assertIn(f"process {child.pid}: tail -f /dev/null", self.found()[0])
        self.end(child)
        self.assertEqual(self.found(), [])

    def test_a_process_by_its_command_line_and_directory(self):
        file = os.path.join(self.directory, "file")
        pathlib.Path(file).touch()
        child = subprocess.Popen(["tail", "-f", file], env={}, stdout=subprocess.DEVNULL)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertIn(f"process {child.pid}: tail -f {file}", self.found())
        inside = self.sleeper(env={}, cwd=self.directory)
        self.assertIn(f"process {inside.pid}: tail -f /dev/null", self.found())
        self.end(child)
        self.end(inside)
        self.assertEqual(self.found(), [f"file {file}"])

    def test_others_are_left_alone(self):
        self.sleeper()
        self.sleeper(env={**os.environ, leftovers.VARIABLE: self.directory + "-2"})
        self.sleeper(env={**os.environ, "OTHER": f"x {leftovers.VARIABLE}={self.directory}"})
        self.assertEqual(self.found(), [])

    def test_a_file_fails_the_run_and_stays(self):
        pathlib.Path(self.directory, "tb-left").mkdir()
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            self.assertEqual(leftovers.main(self.directory, 0), 1)
        self.assertEqual(output.getvalue(), f"left over: file {self.directory}/tb-left\n")
        self.assertTrue(os.path.exists(self.directory))

    def attempt(self, *command):
        """Its output; a machine that does not let us skips the test."""
        if os.geteuid() != 0 or shutil.which(command[0]) is None:
            self.skipTest(f"needs root and {command[0]}")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"{command[0]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def test_a_mount(self):
        point = os.path.join(self.directory, "a b")
        os.mkdir(point)
        self.attempt("mount", "-t", "tmpfs", "none", point)
        try:
            self.assertIn(f"mount {point} (tmpfs)", self.found())
        finally:
            subprocess.run(["umount", point], check=True)

    def test_a_loop_device_even_of_a_deleted_file(self):
        image = os.path.join(self.directory, "image")
        with open(image, "wb") as f:
            f.truncate(1 << 20)
        loop = self.attempt("losetup", "--find", "--show", image)
        os.unlink(image)
        try:
            self.assertTrue(any(line.startswith(f"loop device {loop} of {image}") for line in self.found()))
        finally:
            subprocess.run(["losetup", "-d", loop], check=True)

    def test_a_network_namespace(self):
        name = os.path.basename(self.directory) + "-a"
        self.attempt("ip", "netns", "add", name)
        try:
            self.assertIn(f"network namespace {name}", self.found())
        finally:
            subprocess.run(["ip", "netns", "del", name], check=True)


if __name__ == "__main__":
    unittest.main()
