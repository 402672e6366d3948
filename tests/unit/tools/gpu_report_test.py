"""tools/gpu_report.py: the wire's floor, what is compared with what, and the table; and that
tools/gpu_check has a bench for every row of the reference."""

import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import gpu_report  # noqa: E402

REFERENCE = json.loads(gpu_report.REFERENCE.read_text())
LOW_LATENCY = ("dispatch", "combine", "pair", "launch_gap", "dispatch_call", "combine_call",
               "dispatch_host", "combine_host")
RUN = {"gpu": "NVIDIA H100", "date": "2026-11-22", "commit": "abc", "cards": 2}


def gpu_check():
    loader = importlib.machinery.SourceFileLoader("gpu_check", str(ROOT / "tools/gpu_check"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
    loader.exec_module(module)
    return module


def report(**changes) -> dict:
    """As `braid bench --backend cuda --json` writes it, as far as it is read."""
    shape = {"mode": "low_latency", "input": "bf16", "ranks": 2, "processes": False, "tokens": 128, "hidden": 7168, "experts": 64,
             "topk": 8, "routing": "uniform", "rows": "expert", "alignment": 1, "dispatch": "fp8", "scales": "column",
             "combine": "bf16", "reduce": "expert_rank", "fan_out": "per_rank", "rounds": 1,
             "send_workers": 132, "receive_workers": 132, "sets": 11, "graph_operations": 99,
             "repeat": 100, "verified": True}
    figures = {f"{name}_us": {"p50": 16.0, "p99": 18.0, "min": 15.0} for name in LOW_LATENCY}
    return shape | figures | changes


def throughput() -> dict:
    """The same of --mode high_throughput."""
    times = {"dispatch": 250.0, "dispatch_in_place": 190.0, "combine": 206.0, "layout": 13.0}
    figures = {f"{name}_us": {"p50": time, "p99": time, "min": time}
               for name, time in times.items()}
    made = report(mode="high_throughput", tokens=4096, experts=256, dispatch="bf16", **figures)
    del made["pair_us"]
    return made


def line(case: str, **changes) -> dict:
    return gpu_report.record(case, report(**changes), RUN)


class Floor(unittest.TestCase):
    def floor(self, figure: str, **changes) -> float:
        return gpu_report.wire_floor_us(figure, line("128", **changes), 333)

    def test_one_copy_a_token_and_rank(self):
        # 128 tokens of 7168 + 56 * 4 bytes; one token in four hundred has no route to the peer.
        self.assertAlmostEqual(self.floor("dispatch"), 128 * 7392 * 0.9976 / 333e3, places=3)
        self.assertAlmostEqual(self.floor("combine"), 128 * 14336 * 0.9976 / 333e3, places=3)
        self.assertAlmostEqual(self.floor("pair"), self.floor("dispatch") + self.floor("combine"))

    def test_one_row_a_route_where_the_token_rank_sums(self):
        self.assertAlmostEqual(self.floor("combine", reduce="token_rank"), 128 * 4 * 14336 / 333e3)

    def test_of_other_formats(self):
        self.assertAlmostEqual(self.floor("dispatch", dispatch="bf16"), self.floor("combine"))
        self.assertAlmostEqual(self.floor("dispatch", dispatch="fp8_ue8m0"),
                               128 * 7224 * 0.9976 / 333e3, places=3)

    def test_of_high_throughput(self):
        line = gpu_report.record("throughput bf16 24", throughput(), RUN)
        self.assertEqual(line["bench"], "high_throughput")
        self.assertNotIn("pair_us", line)
        dispatch = gpu_report.wire_floor_us("dispatch", line, 333)
        self.assertAlmostEqual(dispatch, 4096 * 0.9966 * 14336 / 333e3, places=1)
        for figure in ("dispatch_in_place", "combine"):
            self.assertEqual(gpu_report.wire_floor_us(figure, line, 333), dispatch)
        self.assertIsNone(gpu_report.wire_floor_us("layout", line, 333))


class Table(unittest.TestCase):
    titles = {row["case"]: row["case"] for row in REFERENCE["rows"]}

    def rows(self, lines: list[dict], comparable: bool = True) -> dict[str, gpu_report.Row]:
        rows = gpu_report.rows_of(lines, REFERENCE, self.titles, comparable)
        return {row.what: row for row in rows}

    def test_the_best_peer_counts_and_the_targets_are_held(self):
        rows = self.rows([line("128")])
        dispatch = rows["dispatch, 128"]
        self.assertEqual((dispatch.peer, dispatch.peer_us), ("DeepEP V2", 20.8))
        self.assertEqual(dispatch.verdict, "met")
        self.assertEqual(rows["combine, 128"].verdict, "met")
        self.assertEqual(rows["pair, 128"].verdict, "goal met")
        slow = {"p50": 17.1, "p99": 18.0, "min": 15.0}
        self.assertEqual(self.rows([line("128", dispatch_us=slow)])["dispatch, 128"].verdict,
                         "NOT MET")

    def test_high_throughput_is_held_to_its_targets_in_place(self):
        case = "throughput bf16 24"
        rows = self.rows([gpu_report.record(case, throughput(), RUN)])
        in_place = rows[f"dispatch in place, {case}"]
        self.assertEqual((in_place.peer_us, in_place.verdict), (212, "met"))
        self.assertEqual(rows[f"dispatch, {case}"].verdict, "-")
        self.assertEqual(rows[f"dispatch, {case}"].peer_us, 276)
        self.assertEqual(rows[f"combine, {case}"].verdict, "NOT MET")
        self.assertEqual(rows[f"layout, {case}"].verdict, "met")
        self.assertEqual(rows[f"layout, {case}"].cells()[3], "-")

    def test_rows_by_expert_are_held_to_their_targets(self):
        case = "throughput_expert bf16 64"
        report = throughput() | {"rows": "expert", "alignment": 128}
        del report["dispatch_in_place_us"]
        line = gpu_report.record(case, report, RUN)
        self.assertEqual((line["rows"], line["alignment"]), ("expert", 128))
        rows = self.rows([line])
        dispatch = rows[f"dispatch, {case}"]
        self.assertEqual((dispatch.peer, dispatch.peer_us), ("DeepEP V2, 64 SMs, by expert", 407))
        self.assertEqual((dispatch.verdict, dispatch.goal), ("met", 230))
        self.assertEqual(dispatch.cells()[-3:], ["300.0", "230.0", "met"])
        self.assertAlmostEqual(dispatch.floor, 4096 * 0.9966 * 14336 / 333e3, places=1)
        line["combine_us"] = {"p50": 261.0, "p99": 261.0, "min": 261.0}
        self.assertEqual(self.rows([line])[f"combine, {case}"].verdict, "NOT MET")

    def test_what_was_not_measured_says_so(self):
        self.assertEqual(self.rows([])["combine, 8"].verdict, "not measured")

    def test_two_ranks_on_one_gpu_are_compared_with_nothing(self):
        for row in self.rows([line("128")], comparable=False).values():
            self.assertEqual((row.peer_us, row.floor, row.must, row.goal), (None,) * 4)

    def test_every_row_is_a_line_of_equal_columns(self):
        text = gpu_report.table(list(self.rows([line("128"), line("8")]).values()))
        self.assertEqual(len(text), len(REFERENCE["rows"]) + 1)
        self.assertIn("20.8 DeepEP V2", text[1])
        self.assertIn("0.77", text[1])
        self.assertEqual(len({each.rstrip().rfind("  ") for each in text[1:3]}), 1)


class Check(unittest.TestCase):
    def test_a_bench_for_every_row_of_the_reference(self):
        self.assertEqual({row["case"] for row in REFERENCE["rows"]}, set(gpu_check().CASES))

    def test_two_ranks_of_one_gpu_name_it_twice(self):
        check = gpu_check()
        for case in check.CASES.values():
            self.assertIn("--devices", check.bench_options(case, cards=1))
            self.assertNotIn("--devices", check.bench_options(case, cards=2))
            self.assertNotIn("", check.bench_options(case, cards=2))

    def test_high_throughput_is_timed_at_every_budget_and_has_one_scale_layout(self):
        check = gpu_check()
        benches = [check.bench_options(case, cards=2) for name, case in check.CASES.items()
                   if name.startswith("throughput ")]
        asked = {(words[words.index("--dispatch") + 1], words[words.index("--workers") + 1])
                 for words in benches}
        self.assertEqual(asked, {(dispatch, sms) for dispatch in ("bf16", "fp8")
                                 for sms in ("8", "24", "64")})
        for words in benches:
            self.assertEqual(words[words.index("--scales") + 1], "row")
            self.assertEqual(words.count("--scales"), 1)

    def test_rows_by_expert_are_timed_by_64_sms_in_either_format(self):
        check = gpu_check()
        benches = {name: check.bench_options(case, cards=2) for name, case in check.CASES.items()
                   if "--rows" in case.options}
        self.assertEqual(set(benches), {"throughput_expert bf16 64", "throughput_expert fp8 64"})
        for name, words in benches.items():
            options = dict(zip(words, words[1:]))
            self.assertEqual((options["--mode"], options["--rows"], options["--workers"]),
                             ("high_throughput", "expert", "64"))
            self.assertEqual(options["--dispatch"], name.split()[1])

    def test_every_peer_has_a_source_and_its_conditions(self):
        for row in REFERENCE["rows"]:
            for peer in row["peers"]:
                self.assertTrue(REFERENCE["peers"][peer]["source"])
                self.assertTrue(REFERENCE["peers"][peer]["conditions"])


if __name__ == "__main__":
    unittest.main()
