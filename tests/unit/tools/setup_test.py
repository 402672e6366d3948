"""tools/setup.sh installs exactly what is missing, where it may, and else says what to run."""

import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[3]

NEEDED = """
here-package program bash
gone-package program no-such-program
gone-header  header  no/such/header.hpp
"""
WISHED = "gone-wish program no-such-wish\n"
HERE = "here-package program bash\n"


class Setup(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = self.folder / "log"
        self.log.touch()

    def program(self, name: str, body: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def install(self, needed: str, wished: str, user: int = 0, apt: int = 0, sudo: int = 1):
        """Runs braid_install as this user, with an apt-get and a sudo that exit so."""
        self.program("id", f"echo {user}")
        self.program("apt-get", f'echo "apt-get $*" >>"{self.log}"; exit {apt}')
        self.program("sudo", f'[ {sudo} -eq 0 ] || exit {sudo}; shift; "$@"')
        script = '. tools/setup.sh; braid_install "$1" "$2"; echo went on'
        done = subprocess.run(["bash", "-c", script, "bash", needed, wished], cwd=ROOT, text=True,
                              capture_output=True,
                              env={"PATH": f"{self.folder}:/usr/bin:/bin"})
        return done, self.log.read_text().splitlines()

    def test_nothing_missing_does_nothing(self):
        done, calls = self.install(HERE, "")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "went on\n", ""))
        self.assertEqual(calls, [])

    def test_root_installs_exactly_what_is_missing(self):
        done, calls = self.install(NEEDED, WISHED)
        self.assertEqual(done.returncode, 0)
        self.assertIn("installing: gone-package gone-header gone-wish", done.stdout)
        self.assertEqual(calls, [
            "apt-get update -q",
            "apt-get install -q -y --no-install-recommends gone-package gone-header gone-wish"])

    def test_passwordless_sudo_installs(self):
        done, calls = self.install(NEEDED, "", user=1000, sudo=0)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(len(calls), 2)

    def test_without_rights_the_command_is_printed(self):
        done, calls = self.install(NEEDED, WISHED, user=1000)
        self.assertEqual((done.returncode, calls), (1, []))
        self.assertIn("  apt-get update && apt-get install -y --no-install-recommends "
                      "gone-package gone-header gone-wish\n", done.stderr)
        self.assertNotIn("went on", done.stdout)

    def test_without_rights_a_wish_does_not_stop(self):
        done, calls = self.install(HERE, WISHED, user=1000)
        self.assertEqual((done.returncode, calls), (0, []))
        self.assertIn("gone-wish", done.stdout)
        self.assertIn("went on", done.stdout)

    def test_a_failed_install_stops_unless_it_was_a_wish(self):
        done, _ = self.install(NEEDED, "", apt=100)
        self.assertEqual(done.returncode, 1)
        self.assertIn("gone-package gone-header", done.stderr)
        done, _ = self.install(HERE, WISHED, apt=100)
        self.assertEqual(done.returncode, 0)
        self.assertIn("went on", done.stdout)


if __name__ == "__main__":
    unittest.main()
