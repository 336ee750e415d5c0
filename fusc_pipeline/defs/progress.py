"""Live progress of a training asset: throttled log lines and asset observations (each is a row in the event log)."""

import math
import time
from typing import Any

import dagster as dg

LOG_EVERY_S = 10.0
OBSERVE_EVERY_S = 30.0


class Progress:
    """Called with the metrics of each epoch; reports at most every few seconds, and always the last epoch.

    `total` is the number of epochs; metrics are numbers by name, with `epoch` counted from 1.
    """

    def __init__(self, context: dg.AssetExecutionContext, what: str, total: int, prefix: str = "train"):
        self._context, self._what, self._total, self._prefix = context, what, total, prefix
        self._began = time.monotonic()
        self._first_epoch: int | None = None
        self._logged = self._observed = -math.inf

    def __call__(self, metrics: dict[str, Any]) -> None:
        epoch = int(metrics["epoch"])
        now = time.monotonic()
        self._first_epoch = self._first_epoch if self._first_epoch is not None else epoch
        done = epoch - self._first_epoch + 1
        eta = (now - self._began) / done * (self._total - epoch)
        last = epoch >= self._total
        numbers = {k: float(v) for k, v in metrics.items() if k != "epoch" and isinstance(v, int | float)}
        if last or now - self._logged >= LOG_EVERY_S:
            self._logged = now
            shown = ", ".join(f"{k} {v:.4g}" for k, v in numbers.items())
            self._context.log.info(f"{self._what}: epoch {epoch}/{self._total}, {shown}, {eta:.0f} s to go")
        if last or now - self._observed >= OBSERVE_EVERY_S:
            self._observed = now
            metadata = {f"{self._prefix}/{k}": v for k, v in numbers.items() if math.isfinite(v)}
            self._context.log_event(
                dg.AssetObservation(
                    asset_key=self._context.asset_key,
                    metadata={f"{self._prefix}/epoch": epoch, f"{self._prefix}/eta_s": round(eta, 1), **metadata},
                )
            )
