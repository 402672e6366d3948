"""One line for each report of `braid run --json`; fails unless every one of them is verified.

    run_summary.py build/release/reports/qwen3_moe_layer ...    (names without .json)
    run_summary.py build/release/reports/... --methods LAYER=SHAPE ...

--methods: and a table of the methods of overlap, from LAYER.METHOD.json of `braid run --schedule`
beside SHAPE.METHOD.json of `braid predict`, in the first report's folder. Fails unless every run in
it is verified.
"""

import json
import pathlib
import sys

METHODS = ["peo-1", "peo-2", "peo-3", "peo-4", "sbo", "tbo"]


def summary(path: pathlib.Path) -> tuple[bool, str]:
    """Whether the run behind this report was verified, and a line that says so."""
    try:
        report = json.loads(path.read_text())
    except FileNotFoundError:
        return False, f"{path.stem}: FAILED: the run ended without a report"
    except json.JSONDecodeError as error:
        return False, f"{path.stem}: FAILED: {path} is not JSON: {error}"
    verified = report.get("verified") is True
    nodes = report["ranks"] // report["ranks_per_node"]
    return verified, (
        f"{path.stem}: {'verified' if verified else 'NOT VERIFIED'} against "
        f"{report['reference']}, diff {report['diff']:.3g}; {report['ranks']} ranks in "
        f"{nodes} node{'s' if nodes > 1 else ''}, {report['mode']}, dispatch "
        f"{report['dispatch']}, combine {report['combine']}, "
        f"{report['time_us']['total'] / 1000:.1f} ms"
    )


def method_line(folder: pathlib.Path, layer: str, shape: str, method: str) -> tuple[bool, str]:
    """Whether this method's run was verified, and its row of the table."""
    try:
        run = json.loads((folder / f"{layer}.{method}.json").read_text())
        predicted = json.loads((folder / f"{shape}.{method}.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        return False, f"  {method:<8} FAILED: {error}"
    verified = run.get("verified") is True
    equal = "the same" if run.get("equals_sequential") is True else "DIFFERENT"
    gain = 100 * (predicted["speedup_over_sequential"] - 1)
    return verified, (
        f"  {method:<8} {'verified' if verified else 'NOT VERIFIED':<13}{equal:<11}"
        f"{run['time_us']['total'] / 1000:>8.1f} ms"
        f"{run['sequential_time_us']['total'] / 1000:>8.1f} ms{gain:>+12.0f} %"
    )


def methods_table(folder: pathlib.Path, pairs: list[str]) -> tuple[bool, list[str]]:
    lines, all_verified = [], True
    for pair in pairs:
        layer, _, shape = pair.partition("=")
        lines += [
            "",
            f"{layer}, every method of overlap on the CPU; {shape} predicted on 16 H20s, 128 "
            "tokens a rank",
            f"  {'method':<8} {'result':<13}{'bits':<11}{'time':>11}{'sequential':>11}"
            f"{'predicted':>14}",
        ]
        for method in METHODS:
            verified, line = method_line(folder, layer, shape, method)
            all_verified = all_verified and verified
            lines.append(line)
    return all_verified, lines


def main(arguments: list[str]) -> int:
    at = arguments.index("--methods") if "--methods" in arguments else len(arguments)
    names, pairs = arguments[:at], arguments[at + 1 :]
    results = [summary(pathlib.Path(name + ".json")) for name in names]
    for _, line in results:
        print(line)
    verified = bool(results) and all(well for well, _ in results)
    if pairs and names:
        well, lines = methods_table(pathlib.Path(names[0]).parent, pairs)
        print("\n".join(lines))
        verified = verified and well
    return 0 if verified else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
