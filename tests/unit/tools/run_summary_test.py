"""tools/run_summary.py: what counts as verified, and the table of methods."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import run_summary  # noqa: E402

RUN = {"verified": True, "reference": "transformers", "diff": 5e-4, "ranks": 8, "ranks_per_node": 4,
       "mode": "low_latency", "dispatch": "fp8", "combine": "bf16", "time_us": {"total": 3000.0},
       "equals_sequential": True, "sequential_time_us": {"total": 2000.0}}
PREDICTED = {"speedup_over_sequential": 1.31}


class Summary(unittest.TestCase):
    def run_main(self, spoil=None, methods=("layer=shape",)):
        """The exit status and the text; spoil: a file that is written last, or None for removed."""
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "layer.json").write_text(json.dumps(RUN))
            for method in run_summary.METHODS:
                (folder / f"layer.{method}.json").write_text(json.dumps(RUN))
                (folder / f"shape.{method}.json").write_text(json.dumps(PREDICTED))
            for file, content in (spoil or {}).items():
                if content is None:
                    (folder / file).unlink()
                else:
                    (folder / file).write_text(json.dumps(content))
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                more = ["--methods", *methods] if methods else []
                status = run_summary.main([str(folder / "layer"), *more])
            return status, out.getvalue()

    def test_shows_every_method_beside_its_prediction(self):
        status, text = self.run_main()
        self.assertEqual(status, 0)
        for method in run_summary.METHODS:
            line = next(line for line in text.splitlines() if line.startswith(f"  {method} "))
            for part in ("verified", "the same", "3.0 ms", "2.0 ms", "+31 %"):
                self.assertIn(part, line)

    def test_fails_for_a_method_that_is_not_verified_or_has_no_report(self):
        for content in ({**RUN, "verified": False}, None):
            status, text = self.run_main({"layer.sbo.json": content})
            self.assertEqual(status, 1)
            self.assertRegex(text, "sbo +(NOT VERIFIED|FAILED)")
        self.assertEqual(self.run_main({"shape.tbo.json": None})[0], 1)

    def test_says_which_bits_differ(self):
        _, text = self.run_main({"layer.tbo.json": {**RUN, "equals_sequential": False}})
        self.assertRegex(text, "tbo +verified +DIFFERENT")

    def test_fails_for_a_layer_that_is_not_verified(self):
        self.assertEqual(self.run_main(methods=())[0], 0)
        for content in ({**RUN, "verified": False}, None):
            self.assertEqual(self.run_main({"layer.json": content}, methods=())[0], 1)


if __name__ == "__main__":
    unittest.main()
