"""Train/test division: by subject, stratified by view (the paper: "randomly by subject and view", 80/20). Subjects that
share a study are one.

Whether a subject is held out depends on the subjects themselves, not on the order in which they were delivered, and
little on how many there are: most of a grown corpus's test subjects were test subjects before, so that an earlier model
can be scored on images it never trained on.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from fusc_pipeline.base.errors import BadInput

# Measured on corpora of 45 to 1,000 subjects: with one pass half as many subjects change sides when the corpus grows by
# a tenth; with three the views' shares are held nearly as well as by a division made anew each time, which moves two
# thirds of the test subjects.
PASSES = 3
TOTAL_WEIGHT = 3  # of the whole test split's share beside each view's


def split_by_subject(
    subjects: Sequence[str], views: Sequence[str | None], test_share: float = 0.2, seed: int = 0
) -> list[str]:
    """Return "train" or "test" for each image: no subject is in both, the views' shares are kept as well as can be.

    Every subject has a place in an order that a hash of its key and of the seed gives. In that order a subject is held
    out when that brings the shares of held-out images nearer to `test_share`; twice more in that order, one is moved
    when that brings them nearer. Images without a view are a stratum of their own; views too rare to be spread share
    it. Raises BadInput for fewer than two subjects.
    """
    names = sorted(set(subjects), key=lambda name: (_rank(name, seed), name))
    if len(names) < 2:
        raise BadInput(
            f"the corpus has {len(names)} subject; a subject-wise split needs two or more: add another batch, or check "
            "`subject_pattern` of the scans asset if the files' names tell the subjects apart"
        )
    counts = Counter(views)
    # a view with less than one image to hold out cannot be spread; such views share one stratum with the unlabelled
    strata = [view if view is not None and counts[view] * test_share >= 1 else "" for view in views]
    images: dict[str, Counter] = {name: Counter() for name in names}
    for name, stratum in zip(subjects, strata, strict=True):
        images[name].update([stratum, _ALL])
    balance = _Balance({stratum: n * test_share for stratum, n in Counter([*strata, *[_ALL] * len(strata)]).items()})
    held_out: set[str] = set()
    for _ in range(PASSES):
        for name in names:
            sign = -1 if name in held_out else 1
            alone = held_out == {name} if sign < 0 else len(held_out) == len(names) - 1
            if not alone and balance.gain(images[name], sign) > 0:
                balance.move(images[name], sign)
                held_out ^= {name}
    if not held_out:  # each subject alone is more than twice the share: take the smallest
        held_out.add(min(names, key=lambda name: (images[name][_ALL], _rank(name, seed), name)))
    return ["test" if name in held_out else "train" for name in subjects]


def joined_subjects(links: Iterable[tuple[str, str | None, str]]) -> dict[str, str]:
    """Subject key -> the smallest key of all subjects it is joined with: those of one study, or of one image.

    links: (subject, study or None, image) of each frame. A tool that blanks the patient id of some files of a study
    makes two subjects of one person; so does a frame that was delivered again under another name. A study that joins a
    train subject and a test subject moves one of them: the smallest key's place in the order decides.
    """
    first: dict[str, str] = {}

    def find(subject: str) -> str:
        while first.setdefault(subject, subject) != subject:
            first[subject] = subject = first[first[subject]]
        return subject

    holder: dict[tuple[str, str], str] = {}
    for subject, study, image in links:
        for place in (("image", image), *([("study", study)] if study else [])):
            small, large = sorted((find(subject), find(holder.setdefault(place, subject))))
            first[large] = small
    return {subject: find(subject) for subject in first}


_ALL = None  # the stratum that every image is in, beside its own


class _Balance:
    """How far held-out images are from what is wanted: Σ over strata of weight · (held out − wanted)² / wanted."""

    def __init__(self, wanted: dict[str | None, float]):
        self.wanted = wanted
        self.weight = {stratum: 1 / n for stratum, n in wanted.items()}
        self.weight[_ALL] *= TOTAL_WEIGHT
        self.have: Counter = Counter()

    def gain(self, images: Counter, sign: int) -> float:
        """By how much it falls when a subject's images (by stratum) are held out (sign 1) or given back (−1)."""
        off = {stratum: self.have[stratum] - self.wanted[stratum] for stratum in images}
        return sum(self.weight[s] * (off[s] ** 2 - (off[s] + sign * n) ** 2) for s, n in images.items())

    def move(self, images: Counter, sign: int) -> None:
        for stratum, n in images.items():
            self.have[stratum] += sign * n


def _rank(name: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}|{name}".encode()).digest()[:8])
