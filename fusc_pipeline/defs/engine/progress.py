"""Live progress: how far a step is, how fast, and when it will be done, in the run's log and on the asset's page.

Throttled: each line and each observation is a row in the event log, which the UI reads whole.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import dagster as dg

LOG_EVERY_S = 10.0
OBSERVE_EVERY_S = 10.0
MOST_OBSERVATIONS = 50  # of one run
_FIRST = ("loss", "images_per_second")


class Progress:
    """Called with the metrics of each epoch; tells at most every few seconds, and always the first and the last epoch.

    `total` is the number of epochs; metrics are numbers by name, with `epoch` counted from 1; `stop` in them: it is the
    last. `fits`: how many trainings of this kind the run makes; they share the number of observations.
    """

    def __init__(self, context: dg.AssetExecutionContext, what: str, total: int, prefix: str = "train", fits: int = 1):
        self._context, self._what, self._total, self._prefix = context, what, total, prefix
        self._most = max(2, MOST_OBSERVATIONS // max(fits, 1))
        self._began = time.monotonic()
        self._first_epoch: int | None = None
        self._logged = self._observed = -math.inf

    def __call__(self, metrics: dict[str, Any]) -> None:
        epoch = int(metrics["epoch"])
        now = time.monotonic()
        self._first_epoch = self._first_epoch if self._first_epoch is not None else epoch
        last = epoch >= self._total or bool(metrics.get("stop"))
        per_epoch = (now - self._began) / (epoch - self._first_epoch + 1)
        eta = 0.0 if last else per_epoch * (self._total - epoch)
        numbers = {k: float(v) for k, v in metrics.items() if k != "epoch" and _is_number(v)}
        if last or now - self._logged >= LOG_EVERY_S:
            self._logged = now
            self._context.log.info(f"{self._what}: epoch {epoch} of {self._total}, {_shown(numbers)}, {left(eta)}")
        if last or now - self._observed >= observe_every(now - self._began, eta, self._most):
            self._observed = now
            metadata = {f"{self._prefix}/{k}": v for k, v in numbers.items() if math.isfinite(v)}
            self._context.log_event(
                dg.AssetObservation(
                    asset_key=self._context.asset_key,
                    metadata={f"{self._prefix}/epoch": epoch, f"{self._prefix}/eta_s": round(eta, 1), **metadata},
                )
            )


class Counting:
    """Called with how many are done; logs done, total, rate and what is left at most every ten seconds, and at the end.

    `unit`: what is counted, in the plural; `say`: takes a line.
    """

    def __init__(self, say: Callable[[str], None], what: str, total: int, unit: str = "frames"):
        self._say, self._what, self._total, self._unit = say, what, total, unit
        self._began = self._logged = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if done < self._total and now - self._logged < LOG_EVERY_S:
            return
        self._logged = now
        rate = done / max(now - self._began, 1e-9)
        eta = (self._total - done) / max(rate, 1e-9)
        self._say(f"{self._what}: {done} of {self._total} {self._unit}, {rate:.3g} a second, {left(eta)}")


def observe_every(elapsed: float, eta: float, most: int = MOST_OBSERVATIONS) -> float:
    """Seconds between observations so that `most` of them last for the whole training, as long as it seems now."""
    return max(OBSERVE_EVERY_S, (elapsed + eta) / max(most - 2, 1))


def left(seconds: float) -> str:
    """What is left, in words: "40 s to go", "12 min to go", "3.5 h to go", "done"."""
    if seconds <= 0:
        return "done"
    if seconds < 100:
        return f"{seconds:.0f} s to go"
    return f"{seconds / 60:.0f} min to go" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h to go"


def _shown(numbers: dict[str, float]) -> str:
    order = [*(k for k in _FIRST if k in numbers), *(k for k in numbers if k not in _FIRST)]
    return ", ".join(f"{k.replace('_', ' ')} {numbers[k]:.4g}" for k in order)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
