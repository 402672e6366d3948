"""tools/check_spills.py finds a kernel with a stack or spills in what nvcc really reports, and
tools/ptxas_log keeps that report without hiding anything else."""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import check_spills  # noqa: E402


def report(name: str, stack: int = 0, stores: int = 0, loads: int = 0) -> str:
    """As ptxas 13.0 writes it."""
    return (
        "ptxas info    : 0 bytes gmem\n"
        f"ptxas info    : Compiling entry function '{name}' for 'sm_90a'\n"
        f"ptxas info    : Function properties for {name}\n"
        f"    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads\n"
        "ptxas info    : Used 10 registers, used 0 barriers\n"
        "ptxas info    : Compile time = 0.709 ms\n"
    )


class Build(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.build = pathlib.Path(self.folder.name)


class Spills(Build):
    def check(self, reports: dict[str, str | None], patterns: list[str] = []):
        # As CMake 3.25 writes it: without "output".
        commands = [{"directory": str(self.build), "file": f"/src/{name}",
                     "command": f"nvcc -x cu -c /src/{name} -o {name}.o"}
                    for name in ("a.cpp", *reports)]
        for name, text in reports.items():
            (self.build / f"{name}.o").touch()
            if text is not None:
                (self.build / f"{name}.o.ptxas").write_text(text)
        (self.build / "compile_commands.json").write_text(json.dumps(commands))
        return check_spills.check(self.build, patterns)

    def test_kernels_without_local_memory_pass(self):
        self.assertEqual(self.check({"a.cu": report("_Z1a") + report("_Z1b")}), ([], 2))

    def test_each_kind_of_local_memory_is_refused(self):
        for use in ({"stack": 8}, {"stores": 4}, {"loads": 4}):
            with self.subTest(use):
                complaints, _ = self.check({"a.cu": report("_Z1a") + report("_Z3bad", **use)})
                self.assertEqual(len(complaints), 1)
                self.assertIn("_Z3bad", complaints[0])

    def test_an_allowed_kernel_passes(self):
        reports = {"a.cu": report("_Z3badPi", stack=8)}
        self.assertEqual(self.check(reports, ["_Z3bad*"]), ([], 1))

    def test_an_allowance_that_nothing_needs_is_refused(self):
        complaints, _ = self.check({"a.cu": report("_Z1a")}, ["_Z1a"])
        self.assertEqual(len(complaints), 1)

    def test_an_object_without_a_report_is_refused(self):
        for text in (None, "a.cu(4): warning\n"):
            with self.subTest(text):
                complaints, _ = self.check({"a.cu": text})
                self.assertEqual(len(complaints), 1)
                self.assertIn("no report", complaints[0])

    def test_a_build_that_was_not_built_is_refused(self):
        self.check({"a.cu": report("_Z1a")})
        (self.build / "a.cu.o").unlink()
        complaints, _ = check_spills.check(self.build, [])
        self.assertEqual(len(complaints), 1)

    def test_comments_in_the_allowances(self):
        self.assertEqual(check_spills.allowed("# all\n\n _Z1a # why\n_Z1b*\n"), ["_Z1a", "_Z1b*"])


class Launcher(Build):
    def launch(self, script: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [ROOT / "tools/ptxas_log", "bash", "-c", script, "nvcc", "-o", self.build / "a.o"],
            capture_output=True, text=True)

    def test_the_report_is_kept_and_the_rest_passed_on(self):
        noise = report("_Z1a").replace("\n", "\\n")
        done = self.launch(f"echo out; printf '{noise}' >&2; echo 'a.cu(4): warning' >&2")
        self.assertEqual((done.returncode, done.stdout, done.stderr),
                         (0, "out\n", "a.cu(4): warning\n"))
        kept = (self.build / "a.o.ptxas").read_text()
        self.assertEqual(check_spills.uses(kept), [check_spills.Use("_Z1a", 0, 0, 0)])

    def test_a_failure_stays_a_failure(self):
        done = self.launch("echo 'a.cu(4): error' >&2; exit 3")
        self.assertEqual((done.returncode, done.stderr), (3, "a.cu(4): error\n"))


if __name__ == "__main__":
    unittest.main()
