#!/usr/bin/env python3
"""No kernel spills registers or keeps a stack: a role that does pays for it on every token.

    check_spills.py [BUILD_FOLDER]      (default: build/cuda)

Reads the reports that tools/ptxas_log has left beside the CUDA objects of a build. A kernel that
may have local memory is named in tools/spills_allowed.txt, with the reason.
"""

import fnmatch
import json
import pathlib
import re
import shlex
import sys
from typing import NamedTuple

FUNCTION = re.compile(
    r"Function properties for (?P<name>\S+)\s+"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads"
)


class Use(NamedTuple):
    name: str  # mangled
    stack: int  # bytes
    stores: int
    loads: int

    @property
    def spills(self) -> bool:
        return self.stack > 0 or self.stores > 0 or self.loads > 0


def uses(log: str) -> list[Use]:
    """What ptxas says of each function."""
    return [Use(m["name"], int(m["stack"]), int(m["stores"]), int(m["loads"]))
            for m in FUNCTION.finditer(log)]


def allowed(text: str) -> list[str]:
    """The patterns of spills_allowed.txt: one a line, '#' starts a comment."""
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


def cuda_objects(build: pathlib.Path) -> list[pathlib.Path]:
    """The objects that the build makes of CUDA sources."""
    objects = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if entry["file"].endswith(".cu"):
            words = shlex.split(entry["command"])
            objects.append(pathlib.Path(entry["directory"], words[words.index("-o") + 1]))
    return objects


def check(build: pathlib.Path, patterns: list[str]) -> tuple[list[str], int]:
    """The complaints, and how many functions were looked at."""
    complaints = []
    seen = 0
    built = 0
    used_patterns = set()
    for path in cuda_objects(build):
        log = path.with_name(path.name + ".ptxas")
        name = path.relative_to(build)
        if not path.exists():
            continue  # Not part of what was built.
        built += 1
        report = log.read_text() if log.exists() else ""
        if "ptxas info" not in report:
            complaints.append(f"{name}: no report of ptxas beside it; build it again")
            continue
        for use in uses(report):
            seen += 1
            matching = {p for p in patterns if fnmatch.fnmatchcase(use.name, p)}
            if use.spills and not matching:
                complaints.append(
                    f"{name}: {use.name}: {use.stack} bytes of stack, {use.stores} bytes of "
                    f"spill stores, {use.loads} bytes of spill loads; allowed: none")
            if use.spills:
                used_patterns |= matching
    for pattern in patterns:
        if pattern not in used_patterns:
            complaints.append(f"spills_allowed.txt: {pattern} matches no kernel that spills")
    if built == 0:
        complaints.append(f"no CUDA object in {build} has been built")
    return complaints, seen


def main(arguments: list[str]) -> int:
    here = pathlib.Path(__file__).parent
    build = pathlib.Path(arguments[0]) if arguments else here.parent / "build/cuda"
    build = build.resolve()
    if not cuda_objects(build):
        print("spills: no kernels yet")
        return 0
    complaints, seen = check(build, allowed((here / "spills_allowed.txt").read_text()))
    for complaint in complaints:
        print(complaint)
    print(f"spills: {seen} functions, {len(complaints)} findings")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
