"""How far a batch is from what the model in service was trained on, and whether that asks for a renewal. Arrays only.

A batch holds few subjects, and frames of a subject are alike: a small batch differs from the corpus by chance alone.
So every figure has an interval, by an effective number of frames, and only what is beyond chance counts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fusc_pipeline.base.settings import Settings, setting
from fusc_pipeline.service.outliers import UNUSUAL, Calibration

ALIKE = 0.3  # correlation that is assumed between what two frames of a subject do to a figure
Z = 1.96  # of 95 % intervals


class Limits(Settings):
    """What is too far."""

    unusual: float = setting(0.2, "share of frames unlike the held-out ones (5 % are by definition)", 0.0, 1.0)
    unsure: float = setting(0.2, "share of frames less sure than 95 % of the held-out ones", 0.0, 1.0)
    mix: float = setting(
        0.2, "change of the clusters' or views' shares (total variation) that is more than chance makes", 0.0, 1.0
    )
    growth: float = setting(0.3, "frames that came since training, as a share of the training frames", 0.0, 100.0)


@dataclass(frozen=True)
class Share:
    """A share of frames with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Mix:
    """Total variation distance of two histograms, 0 to 1, and what chance alone stays below 95 % of the time."""

    distance: float
    by_chance: float

    @property
    def beyond(self) -> float:
        return max(0.0, self.distance - self.by_chance)


@dataclass(frozen=True)
class Drift:
    """The figures of one batch, or of several taken together.

    frames, subjects: how many; new: frames that the model was neither trained nor tested on; ood_median: 0.5 for frames
    like the held-out ones; views: None without labels; growth: None where not asked.
    """

    frames: int
    subjects: int
    new: int
    unusual: Share
    unsure: Share
    ood_median: float
    clusters: Mix
    views: Mix | None
    growth: float | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Drift":
        """From what `plain` gave."""
        shares = {name: Share(**plain[name]) for name in ("unusual", "unsure")}
        mixes = {name: Mix(**plain[name]) if plain[name] else None for name in ("clusters", "views")}
        return cls(**{**plain, **shares, **mixes})


def effective(frames: int, subjects: int) -> float:
    """How many independent frames so many frames of so many subjects are worth (design effect 1 + (m − 1)·ALIKE)."""
    return frames / (1 + (frames / subjects - 1) * ALIKE) if subjects else 0.0


def share(hits: int, frames: int, subjects: int) -> Share:
    """Wilson's score interval by the effective number of frames; 0 to 1 without any."""
    n = effective(frames, subjects)
    if not n:
        return Share(0.0, 0.0, 1.0)
    p = hits / frames
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    spread = Z / (1 + Z * Z / n) * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Share(p, 0.0 if not hits else middle - spread, 1.0 if hits == frames else middle + spread)


def mix(found: np.ndarray, usual: np.ndarray, frames: int, subjects: int) -> Mix:
    """found, usual: counts (C,) of the batch and of the corpus.

    By chance: the mean distance of a sample from `usual` is at most ½ Σ √(p(1−p)/n), and the distance exceeds its mean
    by √(ln 20 / 2n) one time in twenty at most (McDiarmid's inequality)."""
    n = effective(frames, subjects)
    if not n or not usual.sum():
        return Mix(0.0, 1.0)
    p, q = usual / usual.sum(), found / found.sum()
    mean = 0.5 * float(np.sqrt(p * (1 - p) / n).sum())
    return Mix(0.5 * float(np.abs(p - q).sum()), min(1.0, mean + math.sqrt(math.log(20) / (2 * n))))


def drift(
    *,
    clusters: np.ndarray,
    confidences: np.ndarray,
    ood_scores: np.ndarray,
    subjects: Sequence[str],
    new: int,
    calibration: Calibration,
    usual_clusters: np.ndarray,
    views: tuple[np.ndarray, np.ndarray, int, int] | None = None,
    growth: float | None = None,
) -> Drift:
    """clusters (n,), confidences (n,), ood_scores (n,) of the batch's frames; usual_clusters (K,): the corpus's counts;
    views: (counts of the batch, of the corpus, labelled frames, their subjects), None without labels."""
    n, people = len(clusters), len(set(subjects))
    found = np.bincount(clusters, minlength=len(usual_clusters))
    return Drift(
        frames=n,
        subjects=people,
        new=new,
        unusual=share(int((ood_scores > UNUSUAL).sum()), n, people),
        unsure=share(int((confidences < calibration.least_sure).sum()), n, people),
        ood_median=float(np.median(ood_scores)) if n else 0.0,
        clusters=mix(found, usual_clusters, n, people),
        views=mix(*views) if views else None,
        growth=growth,
    )


def verdict(figures: Drift, limits: Limits) -> list[str]:
    """Why the model should be renewed, in words; empty while it fits."""
    found = []
    if figures.unusual.low > limits.unusual:
        found.append(
            f"{figures.unusual.value:.0%} of the frames are unlike the training frames ({figures.unusual.low:.0%} or "
            f"more beyond chance, limit {limits.unusual:.0%}; 5 % are usual): another machine, preset or anatomy"
        )
    if figures.unsure.low > limits.unsure:
        found.append(
            f"of {figures.unsure.value:.0%} of the frames the model is less sure than usual ({figures.unsure.low:.0%} "
            f"or more beyond chance, limit {limits.unsure:.0%})"
        )
    for what, change in (("clusters", figures.clusters), ("labelled views", figures.views)):
        if change is not None and change.beyond > 0 and change.distance > limits.mix:
            found.append(
                f"the mix of {what} differs by {change.distance:.0%} from the corpus's (limit {limits.mix:.0%}; chance "
                f"alone stays below {change.by_chance:.0%})"
            )
    if figures.growth is not None and figures.growth > limits.growth:
        found.append(
            f"frames that came since training are {figures.growth:.0%} of the training frames (limit "
            f"{limits.growth:.0%})"
        )
    return found
