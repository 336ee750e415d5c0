"""What Dagster's run history costs on SQLite and on PostgreSQL, and whether it holds: parallel runs, events, slots.

    python benchmarks/run_history.py                                     # SQLite
    FUSC_PG_URL=postgresql+psycopg2://... python benchmarks/run_history.py --postgres

Each process executes a run of ten steps by itself, as `fusc run` does, on a run history that nobody has opened before;
two of the steps take a slot of the pool `gpu`. Prints figures; exits 1 when a run failed or two held the slot at once.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import dagster as dg

from fusc_pipeline.operations.history import run_history

ROOT = Path(__file__).resolve().parents[1]
STEPS, MESSAGES, HELD = 10, 20, 0.2  # HELD: seconds for which a step holds the slot


def assets() -> list[dg.AssetsDefinition]:
    """Ten steps one after the other: eight that log, two that hold the pool's slot."""

    def one(number: int) -> dg.AssetsDefinition:
        on_gpu = number in (3, 7)

        @dg.asset(
            name=f"a{number}",
            pool="gpu" if on_gpu else None,
            deps=[f"a{number - 1}"] if number else [],
            group_name="bench",
        )
        def made(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            began = time.monotonic()
            if on_gpu:
                time.sleep(HELD)
                return dg.MaterializeResult(metadata={"held": [began, time.monotonic()]})
            for place in range(MESSAGES):
                context.log.info(f"message {place}")
            return dg.MaterializeResult(metadata={"each": (time.monotonic() - began) / MESSAGES})

        return made

    return [one(number) for number in range(STEPS)]


def work() -> None:
    """One run in this process; prints its figures as JSON."""
    began = time.monotonic()
    with run_history() as instance:
        opened = time.monotonic()
        result = dg.materialize(assets(), instance=instance, raise_on_error=False)
        ended = time.monotonic()
    found = [
        event.step_materialization_data.materialization.metadata for event in result.get_asset_materialization_events()
    ]
    facts = {
        "ok": result.success,
        "open": opened - began,
        "run": ended - opened,
        "message": [m["each"].value for m in found if "each" in m],
        "held": [m["held"].value for m in found if "held" in m],
    }
    print(json.dumps(facts))


def start(home: str) -> subprocess.Popen:
    environment = os.environ | {"DAGSTER_HOME": home, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--work"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="use deploy/postgres/dagster.yaml and FUSC_PG_URL")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return 0
    home = tempfile.mkdtemp(prefix="fusc-history-")
    settings = ROOT / ("deploy/postgres/dagster.yaml" if arguments.postgres else "dagster.yaml")
    text = settings.read_text().replace("base_dir: .dagster_state", f"base_dir: {home}")
    (Path(home) / "dagster.yaml").write_text(text)
    try:
        began = time.monotonic()
        together = [
            json.loads(p.communicate()[0] or '{"ok": false}') for p in [start(home) for _ in range(arguments.processes)]
        ]
        wall = time.monotonic() - began
        alone = json.loads(start(home).communicate()[0])
    finally:
        shutil.rmtree(home)
    good = [facts for facts in together if facts["ok"]]
    held = sorted(span for facts in good for span in facts["held"])
    overlaps = sum(later[0] < earlier[1] for earlier, later in pairwise(held))
    name = "PostgreSQL" if arguments.postgres else "SQLite"
    print(
        f"{name}: {len(good)} of {arguments.processes} runs at once succeeded on a fresh history, {wall:.1f} s in all"
    )
    print(f"  steps that held the slot of `gpu` at once: {overlaps} of {len(held)}")
    for label, runs in (("at once", good), ("alone", [alone])):
        message = 1000 * sum(sum(r["message"]) / len(r["message"]) for r in runs) / len(runs)
        seconds = sum(r["run"] for r in runs) / len(runs)
        opening = max(r["open"] for r in runs)
        times = f"{seconds:.2f} s a run of {STEPS} steps, {message:.1f} ms a logged message, opened in {opening:.2f} s"
        print(f"  {label}: {times}")
    return 0 if len(good) == arguments.processes and not overlaps else 1


if __name__ == "__main__":
    sys.exit(main())
