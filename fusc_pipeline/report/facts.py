"""What the report counts: frames on their way from delivery to the two splits, labels per view, the groups in brief."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.evaluation.metrics import in_view_order
from fusc_pipeline.pictures.gallery import GalleryCluster

# A group a person can accept at a glance, and one that must be sorted frame by frame.
CLEAN_FROM = 0.9
MIXED_BELOW = 0.5
# Fewer labelled images than this say nothing of a group.
FEW_LABELS = 5
UNKNOWN_MACHINE = "not recorded"


@dataclass(frozen=True)
class ViewCount:
    """Labelled frames and subjects of one view."""

    view: str
    train: int
    test: int
    subjects: int

    @property
    def frames(self) -> int:
        return self.train + self.test


@dataclass(frozen=True)
class Refusal:
    """Files or frames refused for one reason, and what to do in the words of the commonest case."""

    reason: str
    count: int
    detail: str


@dataclass(frozen=True)
class Facts:
    """Counts of everything delivered; see the names. `machines` and `label_reasons` are (name, frames)."""

    n_scans: int
    n_rejected: int
    n_quarantined: int
    n_frames: int
    n_train: int
    n_test: int
    n_subjects: int
    n_test_subjects: int
    n_labelled: int
    n_labelled_test: int
    n_subject_unknown: int
    n_batches: int
    machines: tuple[tuple[str, int], ...]
    views: tuple[ViewCount, ...]
    rejections: tuple[Refusal, ...]
    quarantines: tuple[tuple[str, int], ...]
    label_reasons: tuple[tuple[str, int], ...]

    @property
    def labelled_share(self) -> float:
        """Share of the frames with a label, 0 to 1; 0 when there is no frame."""
        return self.n_labelled / self.n_frames if self.n_frames else 0.0

    @property
    def n_machines(self) -> int:
        """Machines that are known by name."""
        return sum(name != UNKNOWN_MACHINE for name, _ in self.machines)

    @property
    def machines_unknown(self) -> bool:
        """Whether some frame's machine is not recorded."""
        return any(name == UNKNOWN_MACHINE for name, _ in self.machines)

    @property
    def absent_views(self) -> list[str]:
        """Views of the fifteen that no label names."""
        return [view.view for view in self.views if not view.frames]

    def largest_view(self, split: str) -> str | None:
        """The view with most labelled frames in a split; None without labels."""
        best = max(self.views, key=lambda view: getattr(view, split))
        return best.view if getattr(best, split) else None


def gather(
    corpus: pd.DataFrame,
    scans: pd.DataFrame,
    rejected: pd.DataFrame,
    pseudo_labels: pd.DataFrame,
    clean_images: pd.DataFrame,
) -> Facts:
    """Count. Tables as in `schemas`; only the columns image_id, subject_source and machine of scans, view, split,
    subject_key and scan_batch of corpus, reason, detail, and quarantined are read.
    """
    scans = scans.drop_duplicates("image_id")
    clean_images = clean_images.drop_duplicates("image_id")
    pseudo_labels = pseudo_labels.drop_duplicates("image_id")
    test = corpus[corpus["split"] == "test"]
    used = scans[scans["image_id"].isin(corpus["image_id"])]
    held = clean_images["quarantined"].dropna()
    return Facts(
        n_scans=len(scans),
        n_rejected=len(rejected),
        n_quarantined=len(held),
        n_frames=len(corpus),
        n_train=len(corpus) - len(test),
        n_test=len(test),
        n_subjects=corpus["subject_key"].nunique(),
        n_test_subjects=test["subject_key"].nunique(),
        n_labelled=int(corpus["view"].notna().sum()),
        n_labelled_test=int(test["view"].notna().sum()),
        n_subject_unknown=int((used["subject_source"] == "file").sum()),
        n_batches=corpus["scan_batch"].nunique(),
        machines=_tally(used["machine"].astype(object).where(used["machine"].notna(), UNKNOWN_MACHINE)),
        views=_views(corpus),
        rejections=_rejections(rejected),
        quarantines=_tally(held),
        label_reasons=_tally(pseudo_labels["reason"]),
    )


def _tally(values: pd.Series) -> tuple[tuple[str, int], ...]:
    """(value, count), commonest first, equal counts by name."""
    counts = values.astype(str).value_counts()
    return tuple(sorted(((str(name), int(n)) for name, n in counts.items()), key=lambda pair: (-pair[1], pair[0])))


def _views(corpus: pd.DataFrame) -> tuple[ViewCount, ...]:
    labelled = corpus[corpus["view"].notna()]
    found = []
    for view in in_view_order([*VIEWS, *labelled["view"]]):
        mine = labelled[labelled["view"] == view]
        n_test = int((mine["split"] == "test").sum())
        found.append(ViewCount(str(view), len(mine) - n_test, n_test, mine["subject_key"].nunique()))
    return tuple(sorted(found, key=lambda count: -count.frames))


def _rejections(rejected: pd.DataFrame) -> tuple[Refusal, ...]:
    found = []
    for reason, n in _tally(rejected["reason"]):
        details = _tally(rejected.loc[rejected["reason"] == reason, "detail"])
        found.append(Refusal(reason, n, details[0][0]))
    return tuple(found)


@dataclass(frozen=True)
class GroupsInBrief:
    """The filled groups by how clean they are: (count, share of the frames) each; views that lead no group."""

    n: int
    clean: tuple[int, float]
    between: tuple[int, float]
    mixed: tuple[int, float]
    unknown: tuple[int, float]
    homeless: tuple[str, ...]


def groups_in_brief(gallery: Sequence[GalleryCluster]) -> GroupsInBrief | None:
    """Sort the groups into clean (purity ≥ 90 %), mixed (< 50 %) and between; unknown: under 5 labelled images, of
    which even random ones often agree. None without a group.
    """
    if not gallery:
        return None
    total = sum(group.size for group in gallery)
    bins: dict[str, list[GalleryCluster]] = {"clean": [], "between": [], "mixed": [], "unknown": []}
    for group in gallery:
        if group.purity is None or group.labelled < FEW_LABELS:
            bins["unknown"].append(group)
        elif group.purity >= CLEAN_FROM:
            bins["clean"].append(group)
        else:
            bins["mixed" if group.purity < MIXED_BELOW else "between"].append(group)
    seen = {view for group in gallery for view, _ in group.views}
    leading = {group.majority for group in gallery}
    return GroupsInBrief(
        n=len(gallery),
        **{name: (len(groups), sum(group.size for group in groups) / total) for name, groups in bins.items()},
        homeless=tuple(in_view_order(list(seen - leading))),
    )
