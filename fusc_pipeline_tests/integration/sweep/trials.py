"""Breaking one asset's making at each of its operations, and whole runs at random moments; and what came of it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from signal import SIGKILL as KILLED

from fusc_pipeline_tests.integration.sweep.compare import contents, differences
from fusc_pipeline_tests.integration.sweep.faults import FULL, KILL, NEEDS_SPACE, READ_ONLY, named
from fusc_pipeline_tests.integration.sweep.stage import Stage, only
from fusc_pipeline_tests.integration.sweep.zygote import Ended

# What an operation belongs to, by event and path; only the table's columns: every operation is tried, named or not.
_STEPS = (
    ("cleanup", r"^os\.(rmdir|remove) "),
    ("pointer", r"/current( |\.tmp|$)"),
    ("checks", r"_checks\.json"),
    ("record", r"_fingerprint\.json"),
    ("sync", r"^fsync "),
    ("rename", r"^os\.rename "),
    ("model", r" models/"),
    ("page", r" \.?report\.html"),
    ("parts", r" work/"),
    ("write", r" assets/"),
)


def step_of(operation: str) -> str:
    """The kind of step that an operation belongs to."""
    return next((step for step, pattern in _STEPS if re.search(pattern, operation)), "other")


MOST_KILLS = 10  # of one root: on a busy machine a run that has nothing left to do outlives its moment too


@dataclass
class Trial:
    """One operation of one asset's making, broken in each way, then healed by a run. wrong: empty when it healed."""

    asset: str
    operation: str
    at: int
    met: list[str] = field(default_factory=list)  # the faults that came about
    wrong: list[str] = field(default_factory=list)

    @property
    def step(self) -> str:
        return step_of(self.operation)


def operations(stage: Stage, asset: str) -> list[str]:
    """The operations of making the asset, its checks included, in an uninterrupted run."""
    stage.reset(asset)
    return stage.run(only(asset)).seen


def trial(stage: Stage, asset: str, at: int, operation: str, wanted: dict[str, str]) -> Trial:
    """Break the making at its operation `at`: by a kill, a read-only disk, a full one where that matters; then run once
    more.

    The three follow one another on one root, so that each run begins with what the one before left, and comes to the
    same operation, which was not done yet. Where a run after the kill ends well without coming to it again (the output
    is published by then), the other two are tried from the beginning. Afterwards the root holds what an uninterrupted
    run leaves, to the byte, times aside: so whatever comes after the asset would be the same.
    """
    found = Trial(asset, operation, at)
    stage.reset(asset)
    for what in (KILL, READ_ONLY, *([FULL] if operation.partition(" ")[0] in NEEDS_SPACE else [])):
        ended = stage.run(only(asset), what=what, at=at if what == KILL else named(operation))
        if what == READ_ONLY and not ended.code:
            found.wrong += differences(contents(stage.root), wanted)
            stage.reset(asset)
            ended = stage.run(only(asset), what=what, at=at)
        if ended.met or ended.code == -KILLED:
            found.met.append(what)
        if what != KILL and ended.code and not _told(ended.said):
            found.wrong.append(f"{what} is not told in words: {ended.said[-800:]}")
    found.wrong += _wrong_after(stage, stage.run(only(asset)), wanted)
    return found


def _wrong_after(stage: Stage, ended: Ended, wanted: dict[str, str]) -> list[str]:
    """What is wrong after a run that no fault met."""
    if ended.code:
        return [f"a run without a fault ended with {ended.code}: {ended.said[-1500:]}"]
    return differences(contents(stage.root), wanted)


def random_moments(stage: Stage, seed: int, seconds: float, wanted: dict[str, str]) -> tuple[int, list[str]]:
    """Start the whole run, kill it at a random moment, start it again, and so on, until one ends by itself, or so many
    were killed that the next is let end; (kills, what is wrong then). seconds: the latest moment."""
    draw, kills = Random(seed), 0
    stage.reset()
    while kills < MOST_KILLS:
        ended = stage.run(kill_after=draw.uniform(0.02, seconds))
        if ended.code != -KILLED:
            return kills, _wrong_after(stage, ended, wanted)
        kills += 1
    return kills, _wrong_after(stage, stage.run(), wanted)


def table(trials: Iterable[Trial]) -> Iterator[str]:
    """Lines of a Markdown table: assets × steps, operations broken and how many of them healed."""
    trials = list(trials)
    there = {t.step for t in trials}
    steps = [step for step in (*(name for name, _ in _STEPS), "other") if step in there]
    yield f"| asset | {' | '.join(steps)} | all |"
    yield "|---|" + "--:|" * (len(steps) + 1)
    for asset in dict.fromkeys(t.asset for t in trials):
        mine = [t for t in trials if t.asset == asset]
        yield f"| {asset} | {' | '.join(_cell(t for t in mine if t.step == step) for step in steps)} | {_cell(mine)} |"
    yield f"| all | {' | '.join(_cell(t for t in trials if t.step == step) for step in steps)} | {_cell(trials)} |"


def _cell(trials: Iterable[Trial]) -> str:
    trials = list(trials)
    return f"{sum(not t.wrong for t in trials)}/{len(trials)}" if trials else ""


def _told(said: str) -> bool:
    """Whether a failed run says that the disk is full, or cannot be written to, and quotes no traceback."""
    return ("No space left on device" in said or "Read-only file system" in said) and "Traceback" not in said
