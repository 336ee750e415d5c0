"""Which frames a person is shown to judge the pseudo-labels: a random sample of each view, and some without a label."""

import math

import numpy as np
import pandas as pd

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.settings import Settings, setting
from fusc_pipeline.evaluation.metrics import in_view_order

UNLABELLED = "(no label)"  # name of the stratum of frames without a label


class SampleConfig(Settings):
    """How many frames are judged."""

    share: float = setting(0.1, "share of each view's frames (the paper: 0.1)", 0.0, 1.0)
    least: int = setting(5, "frames of each view at the least, where it has so many", 1, 10_000)
    most: int = setting(1000, "labelled frames in all at the most; the share shrinks to fit, `least` stands", 1, 20_000)
    unlabelled: int = setting(30, "frames without a label, to see how many labels were missed", 0, 10_000)
    seed: int = setting(0, "which frames are drawn", 0, 2**31 - 1)


def draw(frames: pd.DataFrame, config: SampleConfig) -> pd.DataFrame:
    """The sample: columns image_id, stratum (a view or UNLABELLED), stratum_size and stratum_sample (frames there are
    and frames drawn of the stratum), in an order that tells nothing.

    frames: image_id, each once, and view (None without a label). Equal frames and config give an equal sample. Raises
    BadInput when there is no frame.
    """
    if frames.empty:
        raise BadInput("there is no frame with a clean image to judge; run the text stage of a batch first")
    strata = frames["view"].astype(object).where(frames["view"].notna(), UNLABELLED)
    of_stratum = {name: sorted(rows) for name, rows in frames["image_id"].groupby(strata)}
    views = in_view_order([name for name in of_stratum if name != UNLABELLED])
    sizes = {view: len(of_stratum[view]) for view in views}
    counts = _allocated(sizes, config)
    if UNLABELLED in of_stratum:
        counts[UNLABELLED] = min(config.unlabelled, len(of_stratum[UNLABELLED]))
    rng = np.random.default_rng(config.seed)
    rows = [
        (image_id, name, len(of_stratum[name]), count)
        for name, count in counts.items()
        for image_id in rng.choice(np.array(of_stratum[name], object), count, replace=False)
    ]
    sample = pd.DataFrame(rows, columns=["image_id", "stratum", "stratum_size", "stratum_sample"])
    return sample.iloc[rng.permutation(len(sample))].reset_index(drop=True)


def _allocated(sizes: dict[str, int], config: SampleConfig) -> dict[str, int]:
    """Frames of each view: its share, `least` at the least; the share shrinks until `most` is kept or only the least
    are left."""

    def at(share: float) -> dict[str, int]:
        return {view: min(n, max(config.least, math.ceil(share * n))) for view, n in sizes.items()}

    low, high = 0.0, config.share
    if sum(at(high).values()) <= config.most:
        return at(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(at(middle).values()) <= config.most else (low, middle)
    return at(low)
