#!/usr/bin/env python3
"""The rules of the house, held against the tree (docs/architecture.md):

- Floors. Every folder of src/ with a braid_library has a FLOOR in its CMakeLists.txt. Code
  includes its own folder, lower floors, and braid/ (the public headers): never a neighbor on the
  same floor. A folder that builds only a program (no braid_library), and python/, is a face: it
  may include every floor, and nothing else may include it.
- Public headers include braid/ and the standard library, nothing else.
- Inline assembly lives in src/ptx/ only.
- getenv is called in src/base/env.cpp only.
- A file has at most 500 lines, a public header at most 250.

    check_floors.py [ROOT]
"""

import pathlib
import re
import sys
from typing import Iterator, NamedTuple

SOURCE_SUFFIXES = {".hpp", ".cpp", ".h", ".c", ".cu", ".cuh", ".inl"}
COUNTED_SUFFIXES = SOURCE_SUFFIXES | {".py", ".sh", ".cmake"}
FOLDERS = ("include", "src", "python", "examples", "tests", "bench", "tools", "cmake")
MAX_LINES = 500
MAX_PUBLIC_HEADER_LINES = 250
FACE = 1000  # The floor of a folder that only builds a program.

LIBRARY = re.compile(r"\bbraid_library\s*\(\s*([\w.-]+)([^)]*)\)")
FLOOR = re.compile(r"\bFLOOR\s+(\d+)\b")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.MULTILINE)
ASSEMBLY = re.compile(r"\b(?:asm|__asm|__asm__)\b\s*(?:volatile|__volatile__|goto|inline|\s)*\(")
GETENV = re.compile(r"\b(?:secure_)?getenv\b")
# The standard library's headers are the only ones without a folder and without an ending.
STANDARD = re.compile(r"[a-z_0-9]+")

# Comments, raw strings, strings, characters; an apostrophe within a number is none of these.
TOKEN = re.compile(
    r"//(?:[^\n\\]|\\.|\\\n)*"
    r"|/\*.*?\*/"
    r'|R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)"'
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|(?<![0-9A-Za-z_])'(?:[^'\\\n]|\\.)*'",
    re.DOTALL,
)


class Finding(NamedTuple):
    path: pathlib.PurePosixPath
    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.text}"


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def without_comments(code: str) -> str:
    """The code with comments and raw strings blanked; lines keep their numbers."""
    return TOKEN.sub(lambda m: blank(m[0]) if m[0][:2] in ("//", "/*", 'R"') else m[0], code)


def without_text(code: str) -> str:
    """The code with comments, strings and characters blanked."""
    return TOKEN.sub(lambda m: blank(m[0]), code)


def line_of(code: str, position: int) -> int:
    return code.count("\n", 0, position) + 1


class House:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.findings: list[Finding] = []
        # src/-relative folder -> floor, longest path first so that a subfolder wins.
        self.floors: dict[str, int] = {}
        self.files = sorted(self._files())
        self._read_floors()

    def _files(self) -> Iterator[pathlib.PurePosixPath]:
        for folder in FOLDERS:
            for path in (self.root / folder).rglob("*"):
                parts = path.relative_to(self.root).parts
                if path.is_file() and "__pycache__" not in parts:
                    yield pathlib.PurePosixPath(*parts)

    def _find(self, path: pathlib.PurePosixPath, line: int, rule: str, text: str) -> None:
        self.findings.append(Finding(path, line, rule, text))

    def _read_floors(self) -> None:
        floors = {}
        for path in self.files:
            if path.parts[0] != "src" or path.name != "CMakeLists.txt" or len(path.parts) < 3:
                continue
            text = re.sub(r"#[^\n]*", lambda m: blank(m[0]), (self.root / path).read_text())
            folder = "/".join(path.parts[1:-1])
            libraries = list(LIBRARY.finditer(text))
            if not libraries:
                floors[folder] = FACE
            for library in libraries:
                floor = FLOOR.search(library[2])
                line = line_of(text, library.start())
                if floor is None:
                    self._find(path, line, "floor", f"braid_library({library[1]}) has no FLOOR")
                elif floors.setdefault(folder, int(floor[1])) != int(floor[1]):
                    self._find(path, line, "floor", f"{folder} has two floors")
        self.floors = dict(sorted(floors.items(), key=lambda item: -len(item[0])))

    def folder_of(self, path: str) -> str | None:
        """The folder with a floor that a src/-relative path belongs to."""
        for folder in self.floors:
            if path.startswith(folder + "/"):
                return folder
        return None

    def check(self) -> list[Finding]:
        for path in self.files:
            if path.suffix in COUNTED_SUFFIXES or path.name == "CMakeLists.txt":
                self._check_length(path)
            if path.suffix in SOURCE_SUFFIXES:
                self._check_source(path)
        return sorted(self.findings)

    def _check_length(self, path: pathlib.PurePosixPath) -> None:
        lines = len((self.root / path).read_text().splitlines())
        public = path.parts[:2] == ("include", "braid")
        most = MAX_PUBLIC_HEADER_LINES if public else MAX_LINES
        if lines > most:
            kind = "a public header" if public else "a file"
            self._find(path, most + 1, "length", f"{lines} lines, but {kind} has at most {most}")

    def _check_source(self, path: pathlib.PurePosixPath) -> None:
        code = (self.root / path).read_text()
        bare = without_text(code)
        if path.parts[:2] != ("src", "ptx"):
            for match in ASSEMBLY.finditer(bare):
                self._find(path, line_of(bare, match.start()), "assembly",
                           "inline assembly belongs in src/ptx/, wrapped and named")
        product = path.parts[0] in ("include", "src", "python", "examples")
        if product and path.parts != ("src", "base", "env.cpp"):
            for match in GETENV.finditer(bare):
                self._find(path, line_of(bare, match.start()), "getenv",
                           "the environment is read in src/base/env.cpp only")
        if path.parts[0] in ("include", "src", "python"):
            plain = without_comments(code)
            for match in INCLUDE.finditer(plain):
                line = line_of(plain, match.start(match.lastindex))
                if path.parts[0] == "include":
                    self._check_public_include(path, line, match[1], match[2])
                else:
                    self._check_include(path, line, match[1], match[2])

    def _check_public_include(self, path, line, quoted, angled) -> None:
        if quoted is not None and quoted.startswith("braid/"):
            if not (self.root / "include" / quoted).is_file():
                self._find(path, line, "include", f'"{quoted}" is not in include/')
        elif angled is None or not STANDARD.fullmatch(angled):
            self._find(path, line, "public", f"{quoted or angled} is neither braid/ nor standard")

    def _check_include(self, path, line, quoted, angled) -> None:
        name = quoted if quoted is not None else angled
        if name.startswith("braid/"):
            if not (self.root / "include" / name).is_file():
                self._find(path, line, "include", f'"{name}" is not in include/')
            return
        if not any((self.root / "src" / (name + end)).is_file() for end in ("", ".in")):
            # <...> is a library's header; a quoted name that is not ours is an error, but for
            # python/, whose own headers lie beside their sources.
            beside = path.parts[0] == "python" and (self.root / path.parent / name).is_file()
            if quoted is not None and not beside:
                self._find(path, line, "include",
                           f'"{name}" is not in src/; names start there ("base/check.hpp")')
            return
        target = self.folder_of(name)
        if target is None:
            self._find(path, line, "floor", f"{name} lies in a folder without a floor")
            return
        if path.parts[0] == "src":
            own = self.folder_of("/".join(path.parts[1:]))
            if own is None:
                self._find(path, line, "floor", f"{path.parent} has no CMakeLists.txt, so no floor")
                return
            if own == target:
                return
            floor = self.floors[own]
        else:
            own, floor = path.parts[0], FACE
        if self.floors[target] >= floor:
            self._find(path, line, "floor",
                       f"{own} ({self._name(floor)}) includes {name} of {target} "
                       f"({self._name(self.floors[target])}); only lower floors are allowed")

    @staticmethod
    def _name(floor: int) -> str:
        return "a face" if floor == FACE else f"floor {floor}"


def main(arguments: list[str]) -> int:
    root = pathlib.Path(arguments[0]) if arguments else pathlib.Path(__file__).parents[1]
    house = House(root)
    findings = house.check()
    for finding in findings:
        print(finding)
    if not house.floors:
        print(f"no folder with a floor under {root / 'src'}")
        return 1
    checked = sum(path.suffix in SOURCE_SUFFIXES for path in house.files)
    print(f"floors: {checked} sources in {len(house.floors)} folders of src/, "
          f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
