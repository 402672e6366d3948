"""One line for each report of `braid run --json`; fails unless every one of them is verified.

    run_summary.py build/release/reports/qwen3_moe_layer ...    (names without .json)
"""

import json
import pathlib
import sys


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


def main(names: list[str]) -> int:
    results = [summary(pathlib.Path(name + ".json")) for name in names]
    for _, line in results:
        print(line)
    return 0 if results and all(verified for verified, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
