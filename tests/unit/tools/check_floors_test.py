"""tools/check_floors.py refuses each thing that it is there to refuse, and nothing else."""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import check_floors  # noqa: E402

# A sound house of three floors, a face and a public header.
SOUND = {
    "include/braid/tensor.hpp": "#include <array>\n#include \"braid/error.hpp\"\n",
    "include/braid/error.hpp": "#include <stdexcept>\n",
    "src/base/CMakeLists.txt": "braid_library(base FLOOR 0 SOURCES env.cpp)\n",
    "src/base/check.hpp": "#include \"braid/error.hpp\"\n#include <fmt/format.h>\n",
    "src/base/env.cpp": "#include \"base/check.hpp\"\nauto home = std::getenv(\"HOME\");\n",
    "src/ptx/CMakeLists.txt": "braid_library(ptx FLOOR 0)\n",
    "src/ptx/fence.cuh": "inline void f() { asm volatile(\"fence;\"); }\n",
    "src/codec/CMakeLists.txt": "# FLOOR 9, once\nbraid_library(codec\n  FLOOR 1\n  DEPENDS base)\n",
    "src/codec/fp8.hpp": "#include \"base/check.hpp\"\n#include \"braid/tensor.hpp\"\n",
    "src/topology/CMakeLists.txt": "braid_library(topology FLOOR 1 DEPENDS base)\n",
    "src/topology/experts.hpp": "#include \"base/check.hpp\"\n",
    "src/backend/cpu/CMakeLists.txt": "braid_library(backend_cpu FLOOR 5 DEPENDS codec)\n",
    "src/backend/cpu/detail/machine.hpp": "#include \"codec/fp8.hpp\"\n",
    "src/backend/cpu/run.cpp": "#include \"backend/cpu/detail/machine.hpp\"\n",
    "src/cli/CMakeLists.txt": "add_executable(braid_cli main.cpp)\n",
    "src/cli/main.cpp": "#include \"backend/cpu/detail/machine.hpp\"\n#include \"cli/print.hpp\"\n",
    "src/cli/print.hpp": "#include <CLI/CLI.hpp>\n",
    "python/module.cpp": "#include \"module.hpp\"\n#include \"codec/fp8.hpp\"\n",
    "python/module.hpp": "#include <pybind11/pybind11.h>\n",
}


class Check(unittest.TestCase):
    def findings(self, changes: dict[str, str]) -> list[check_floors.Finding]:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for name, text in (SOUND | changes).items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            return check_floors.House(root).check()

    def refused(self, path: str, text: str, rule: str, line: int = 1) -> None:
        found = [(str(f.path), f.line, f.rule) for f in self.findings({path: text})]
        self.assertEqual(found, [(path, line, rule)])

    def accepted(self, path: str, text: str) -> None:
        self.assertEqual(self.findings({path: text}), [])

    def test_a_sound_house_has_no_finding(self):
        self.assertEqual(self.findings({}), [])

    def test_a_higher_floor(self):
        self.refused("src/base/bad.hpp", "\n#include \"codec/fp8.hpp\"\n", "floor", line=2)

    def test_a_neighbor_on_the_same_floor(self):
        self.refused("src/codec/bad.hpp", "#include \"topology/experts.hpp\"\n", "floor")
        self.refused("src/ptx/bad.hpp", "#include \"base/check.hpp\"\n", "floor")

    def test_angle_brackets_are_no_way_around(self):
        self.refused("src/codec/bad.hpp", "#  include <topology/experts.hpp>\n", "floor")

    def test_a_face_is_included_by_nobody_else(self):
        self.refused("src/backend/cpu/bad.cpp", "#include \"cli/print.hpp\"\n", "floor")
        self.refused("python/bad.cpp", "#include \"cli/print.hpp\"\n", "floor")

    def test_code_in_a_folder_without_a_floor(self):
        self.refused("src/lost/bad.cpp", "#include \"base/check.hpp\"\n", "floor")

    def test_including_a_folder_without_a_floor(self):
        found = self.findings({
            "src/lost/lost.hpp": "",
            "src/codec/bad.hpp": "#include \"lost/lost.hpp\"\n",
        })
        self.assertEqual([(str(f.path), f.rule) for f in found], [("src/codec/bad.hpp", "floor")])

    def test_a_library_without_a_floor(self):
        self.refused("src/layout/CMakeLists.txt", "\nbraid_library(layout)\n", "floor", line=2)

    def test_a_folder_with_two_floors(self):
        self.refused("src/layout/CMakeLists.txt",
                     "braid_library(a FLOOR 2)\nbraid_library(b FLOOR 3)\n", "floor", line=2)

    def test_a_name_that_does_not_start_at_src(self):
        self.refused("src/codec/bad.hpp", "#include \"fp8.hpp\"\n", "include")
        self.refused("src/codec/bad.hpp", "#include \"../base/check.hpp\"\n", "include")
        self.refused("src/codec/bad.hpp", "#include \"braid/missing.hpp\"\n", "include")

    def test_a_header_that_the_build_generates(self):
        self.assertEqual(self.findings({
            "src/codec/build.hpp.in": "",
            "src/codec/good.cpp": "#include \"codec/build.hpp\"\n",
        }), [])

    def test_public_headers_stay_public(self):
        for include in ('"base/check.hpp"', "<fmt/format.h>", "<cuda_runtime.h>", "<unistd.h>",
                        "<cuda/std/atomic>", '"tensor.hpp"', "<braid/tensor.hpp>"):
            with self.subTest(include):
                self.refused("include/braid/bad.hpp", f"#include {include}\n", "public")
        self.refused("include/braid/bad.hpp", "#include \"braid/missing.hpp\"\n", "include")

    def test_inline_assembly_outside_ptx(self):
        for code in ("asm(\"nop\");", "asm volatile (\"nop\");", "__asm__ __volatile__(\"nop\");"):
            with self.subTest(code):
                self.refused("src/codec/bad.cuh", "\n" + code, "assembly", line=2)
                self.refused("tests/bad.cu", "\n" + code, "assembly", line=2)

    def test_getenv_outside_env_cpp(self):
        self.refused("src/codec/bad.cpp", "auto x = ::getenv(\"X\");\n", "getenv")
        self.refused("src/codec/bad.cpp", "auto x = secure_getenv(\"X\");\n", "getenv")

    def test_comments_and_strings_are_not_code(self):
        self.accepted("src/codec/good.cpp", """
// #include "topology/experts.hpp"; asm("nop"); getenv("X")
/*
#include "topology/experts.hpp"
asm("nop"); */
const char* a = "asm(getenv)";
const char* b = R"x(
#include "topology/experts.hpp"
asm("nop"))x";
const int c = 1'000'000; const char d = '"'; const char e = '\\'';
""")

    def test_code_after_comments_and_strings_is_code(self):
        self.refused("src/codec/bad.cpp",
                     "const char d = '\"'; /* \" */ int c = 1'0; const char* s = \"\\\"//\"; "
                     "asm(\"nop\");\n", "assembly")

    def test_long_files(self):
        self.accepted("src/codec/good.cpp", "\n" * 500)
        self.refused("src/codec/bad.cpp", "\n" * 501, "length", line=501)
        self.refused("tests/unit/bad_test.cpp", "\n" * 501, "length", line=501)
        self.refused("tools/bad.py", "\n" * 501, "length", line=501)
        self.accepted("include/braid/good.hpp", "\n" * 250)
        self.refused("include/braid/bad.hpp", "\n" * 251, "length", line=251)


if __name__ == "__main__":
    unittest.main()
