"""The C++ in README.md is the code of the example that it names, which the tests compile and run."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Readme(unittest.TestCase):
    def test_its_code_stands_in_the_example(self):
        readme = (ROOT / "README.md").read_text()
        example = [line.strip() for line in (ROOT / "examples/quickstart.cpp").read_text().splitlines()]
        blocks = re.findall(r"```cpp\n(.*?)```", readme, flags=re.S)
        self.assertEqual(len(blocks), 1)
        lines = [line.strip() for line in blocks[0].splitlines()]
        starts = [at for at, line in enumerate(example) if line == lines[0]]
        self.assertTrue(any(example[at : at + len(lines)] == lines for at in starts))

    def test_its_files_exist(self):
        readme = (ROOT / "README.md").read_text()
        for link in re.findall(r"\]\(([^)#]+)\)", readme):
            self.assertTrue((ROOT / link).exists(), link)


if __name__ == "__main__":
    unittest.main()
