"""The C++ in README.md is code of the examples, which are compiled, and run where they can be."""

import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]


class Readme(unittest.TestCase):
    def test_its_code_stands_in_an_example(self):
        readme = (ROOT / "README.md").read_text()
        examples = [
            [line.strip() for line in path.read_text().splitlines()]
            for path in sorted((ROOT / "examples").glob("*.cpp"))
        ]
        blocks = re.findall(r"```cpp\n(.*?)```", readme, flags=re.S)
        self.assertEqual(len(blocks), 5)
        for block in blocks:
            lines = [line.strip() for line in block.splitlines()]
            self.assertTrue(any(self.stands_in(lines, example) for example in examples), block)

    @staticmethod
    def stands_in(lines: list[str], example: list[str]) -> bool:
        starts = [at for at, line in enumerate(example) if line == lines[0]]
        return any(example[at : at + len(lines)] == lines for at in starts)

    def test_its_files_exist(self):
        readme = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.S)
        for link in re.findall(r"\]\(([^)#]+)\)", readme):
            self.assertTrue((ROOT / link).exists(), link)


if __name__ == "__main__":
    unittest.main()
