"""Whether a candidate is put in service. Pure: what happened so far, how the two compare, and the installation's rule.

A person's decision is never undone: a candidate is decided upon once, when it is new. What was kept out or rolled back
from comes into service again by name only (`fusc promote NUMBER`), or by a rule that promotes everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.settings import Settings, setting
from fusc_pipeline.service.comparison import Comparison

PROMOTED, KEPT, ROLLED_BACK, UNCHANGED = "promoted", "kept", "rolled_back", "unchanged"
LEAST_SUBJECTS = 3  # whose spread tells how sure a difference is


@dataclass(frozen=True)
class Entry:
    """One line of the history, oldest first: what was done about model `number`, and which was in service after it."""

    action: str
    number: int
    version: str
    in_service: int


class Rule(Settings):
    """How this installation promotes."""

    promote: str = setting(
        "auto",
        "auto: when not worse than the model in service; always: every new candidate; never: by hand",
        choices=("auto", "always", "never"),
    )
    tolerance: float = setting(0.02, "by how much NMI (or the measure without labels) may fall", 0.0, 1.0)
    risk: float = setting(0.1, "chance accepted that it falls by more than that", 0.0, 1.0)


@dataclass(frozen=True)
class Decision:
    """action: promoted, kept (the one in service stays), rolled_back or unchanged (nothing to decide); why: words."""

    action: str
    why: str


def settled(history: Sequence[Entry], version: str, rule: Rule) -> str | None:
    """Why there is nothing to decide about this candidate, or None where there is."""
    known = [entry for entry in history if entry.version == version]
    if not known:
        return None
    number = known[0].number
    if history[-1].in_service == number:
        return f"model {number} is in service and is the newest candidate"
    if any(entry.in_service == number for entry in history):
        return f"model {number} was in service and was taken out of it; it comes back by name: fusc promote {number}"
    if rule.promote == "always":
        return None
    return f"model {number} was kept out of service before; it comes in by name: fusc promote {number}"


def decide(history: Sequence[Entry], version: str, comparison: Comparison | None, rule: Rule) -> Decision:
    """What to do about the candidate of this version; `comparison` is with the model in service, None without one."""
    if words := settled(history, version, rule):
        return Decision(UNCHANGED, words)
    if not history:
        return Decision(PROMOTED, "the first model")
    if rule.promote == "always":
        return Decision(PROMOTED, f"every candidate is promoted (promote: always); {told(comparison, rule)}")
    if rule.promote == "never":
        return Decision(KEPT, f"promotion is by hand (promote: never); {told(comparison, rule)}")
    if comparison is None or comparison.subjects < LEAST_SUBJECTS:
        n = comparison.subjects if comparison else 0
        return Decision(
            KEPT,
            f"test images of {n} subjects, that neither model was trained on, are too few to compare them; promote it "
            "by hand",
        )
    good = comparison.risk(rule.tolerance) <= rule.risk
    return Decision(PROMOTED if good else KEPT, told(comparison, rule))


def chosen(history: Sequence[Entry], number: int) -> Decision:
    """Put a model in service by its number. Raises BadSetting for a number that no model has."""
    numbers = sorted({entry.number for entry in history})
    if number not in numbers:
        known = ", ".join(map(str, numbers)) or "none yet; make one: fusc run"
        raise BadSetting(f"there is no model {number}; known: {known}")
    if history[-1].in_service == number:
        return Decision(UNCHANGED, f"model {number} is in service already")
    if any(entry.in_service == number for entry in history):
        return Decision(ROLLED_BACK, f"by name, from model {history[-1].in_service}")
    return Decision(PROMOTED, f"by name, in place of model {history[-1].in_service}")


def before(history: Sequence[Entry]) -> int:
    """The number that was in service before the present one came; BadSetting when there was none.

    Rolling back twice goes back twice: the model in service before the present one was first promoted is meant.
    """
    if not history:
        raise BadSetting("no model is in service, so there is none to go back to; make one: fusc run")
    now = history[-1].in_service
    first = next(place for place, entry in enumerate(history) if entry.in_service == now)
    if first == 0:
        raise BadSetting(f"model {now} was the first in service; there is none before it (all: fusc models)")
    return history[first - 1].in_service


def told(comparison: Comparison | None, rule: Rule) -> str:
    """How the two compare, in words."""
    if comparison is None or not comparison.n:
        return "not compared with the model in service: no test image that neither was trained on"
    names = {"nmi": "NMI", "neighbour_agreement": "without labels, neighbour agreement beyond chance"}
    low, high = comparison.interval
    return (
        f"{names[comparison.measure]} {comparison.candidate:.3f} against {comparison.in_service:.3f} in service on the "
        f"same {comparison.n} test images of {comparison.subjects} subjects (difference {low:+.3f} to {high:+.3f}); "
        f"chance of losing more than {rule.tolerance:g}: {comparison.risk(rule.tolerance):.0%}, accepted "
        f"{rule.risk:.0%}"
    )
