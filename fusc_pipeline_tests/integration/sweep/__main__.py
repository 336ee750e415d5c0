"""`python -m fusc_pipeline_tests.integration.sweep [--assets A …] [--kills N]`: the table, and what failed."""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from fusc_pipeline_tests.integration.sweep.faults import FULL, KILL, READ_ONLY
from fusc_pipeline_tests.integration.sweep.stage import Stage, assets
from fusc_pipeline_tests.integration.sweep.trials import Trial, operations, random_moments, table, trial


def in_memory() -> str | None:
    """A folder in memory where there is one, since every trial makes some thousand small files; None: the usual one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Sweep:
    """Stages, one for each job, rehearsed alike; trials are handed out among them."""

    def __init__(self, folder: Path, jobs: int):
        self.stages: Queue[Stage] = Queue()
        self._pool = ThreadPoolExecutor(jobs)
        made = list(self._pool.map(lambda number: Stage(folder / str(number)), range(jobs)))
        after = list(self._pool.map(Stage.rehearse, made))
        # Keys of patients differ between stages, so each has its own idea of what the root holds at last.
        self.after = {id(stage): wanted for stage, wanted in zip(made, after, strict=True)}
        self._made = made
        for stage in made:
            self.stages.put(stage)

    def each(self, work, items) -> list:
        """work(stage, what its root should hold, item) of every item, in order."""

        def one(item):
            stage = self.stages.get()
            try:
                return work(stage, self.after[id(stage)], item)
            finally:
                self.stages.put(stage)

        return list(self._pool.map(one, items))

    def steps(self, names: list[str]) -> list[Trial]:
        """Every operation of every one of these assets."""
        listed = self.each(lambda stage, _, asset: operations(stage, asset), names)
        todo = [(asset, at, op) for asset, ops in zip(names, listed, strict=True) for at, op in enumerate(ops, start=1)]

        def broken(stage: Stage, after: dict, item: tuple[str, int, str]) -> Trial:
            asset, at, operation = item
            found = trial(stage, asset, at, operation, after[asset])
            if found.wrong:
                print(json.dumps(found.__dict__), file=sys.stderr, flush=True)
            return found

        return self.each(broken, todo)

    def moments(self, kills: int, seed: int) -> tuple[int, list[str]]:
        """(kills, what was wrong) of killing whole runs at random moments, so many times or a few more."""
        seconds = self.each(_whole_run, [None])[0]
        met, wrong, roots = 0, [], 0

        def broken(stage: Stage, after: dict, number: int) -> tuple[int, list[str]]:
            # From the beginning, late moments meet the end of a run; early ones meet it more often.
            latest = seconds / (1 + number % 3)
            return random_moments(stage, seed + number, latest, list(after.values())[-1])

        while met < kills:
            numbers = range(roots, roots + len(self._made))
            for number, (more, told) in zip(numbers, self.each(broken, numbers), strict=True):
                met, wrong = met + more, [*wrong, *(f"seed {seed + number}: {line}" for line in told)]
            print(f"{met} random moments, {len(wrong)} things wrong", file=sys.stderr, flush=True)
            roots += len(self._made)
        return met, wrong

    def close(self) -> None:
        self._pool.shutdown()
        for stage in self._made:
            stage.close()


def _whole_run(stage: Stage, _after: dict, _item: None) -> float:
    stage.reset()
    return stage.run().seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", nargs="*", help="only these (default: every asset)")
    parser.add_argument("--kills", type=int, default=200, help="random moments (200)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fusc-sweep-", dir=in_memory()) as folder:
        sweep = Sweep(Path(folder), arguments.jobs)
        names = assets() if arguments.assets is None else arguments.assets
        trials = sweep.steps(names)
        print("\n".join(table(trials)))
        met = ", ".join(f"{what} {sum(what in trial.met for trial in trials)}" for what in (KILL, READ_ONLY, FULL))
        print(f"of {len(trials)} operations met: {met}; {time.monotonic() - began:.0f} s", flush=True)
        kills, wrong = sweep.moments(arguments.kills, arguments.seed) if arguments.kills else (0, [])
        print(
            "\n".join([f"{kills} random moments, {len(wrong)} things wrong, {time.monotonic() - began:.0f} s", *wrong])
        )
        sweep.close()
    return int(bool(wrong) or any(t.wrong for t in trials))


if __name__ == "__main__":
    sys.exit(main())
