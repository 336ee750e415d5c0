"""What the report warns of, and what it says it cannot show. Only words; nothing is hidden because of a warning."""

import math
from dataclasses import dataclass

import pandas as pd

from fusc_pipeline.base.views import PAPER_VIEW_SHARES
from fusc_pipeline.base.words import counted, listed, tight
from fusc_pipeline.evaluation.model_names import before_self_labelling, model_words
from fusc_pipeline.evaluation.tables import percent
from fusc_pipeline.report.facts import Facts
from fusc_pipeline.report.inputs import ReportInput

FEW_TEST_LABELS = 100
FEW_PER_VIEW = 5
FEW_TEST_SUBJECTS = 10
FEW_PER_GROUP = 10
SMALL_CORPUS = 500
# Below this a difference in purity between before and after self-labelling is called none.
NOTICEABLE = 0.005
HELD_BACK = 0.2


@dataclass(frozen=True)
class Caveat:
    """A warning: `grave` ones stand at the top of the page."""

    title: str
    text: str
    grave: bool = False


def half_width(n: int) -> float:
    """Half the widest 95 % interval of a share of n independent frames, 0 to 1 (normal approximation at one half)."""
    return min(1.0, 1.96 * math.sqrt(0.25 / n)) if n else 1.0


def caveats(given: ReportInput, facts: Facts) -> list[Caveat]:
    """The warnings that apply, grave ones first, each kind at most once."""
    found = [
        *_phantom(given),
        *_removal(given),
        *_labels(given, facts),
        *_chance(given, facts),
        *_self_labelling(given),
        *_rare_views(facts),
        *_subjects(facts),
        *_held_back(facts),
        *_seeds(given),
    ]
    kept = [Caveat(tight(c.title), tight(c.text), c.grave) for c in found]
    return sorted(kept, key=lambda caveat: not caveat.grave)


def _phantom(given: ReportInput) -> list[Caveat]:
    if not given.phantom:
        return []
    text = (
        "Every picture on this page was drawn by a program. The figures show that the machinery works from file to "
        "page; they say nothing about clinical performance and must not be quoted as such."
    )
    return [Caveat("These are synthetic frames: they test the machinery, not clinical performance.", text, True)]


def _removal(given: ReportInput) -> list[Caveat]:
    found, removal = [], given.removal
    if removal is not None and not removal.clean:
        found.append(Caveat("Text is left on some frames.", f"{removal.text} Do not pass the frames on.", True))
    if removal is not None and removal.leak_good is False:
        text = f"{removal.leak} Groups may follow those traces instead of the anatomy."
        found.append(Caveat("What was written on the frames can still be told.", text, True))
    if removal is not None and removal.attention is not None and removal.attention.good is False:
        text = f"{removal.attention.text} Groups may do the same."
        found.append(Caveat("A network looks at where text was.", text, True))
    return found


def _labels(given: ReportInput, facts: Facts) -> list[Caveat]:
    if not facts.n_labelled:
        text = (
            "No text naming a view was read on any frame. Purity, shared information, pair agreement, accuracy, the "
            "average per view, the confusion matrix and the composition table all compare groups with labels: they are "
            "left out, not zero. The groups, their sizes, their pictures and the map need no labels and are shown."
        )
        return [Caveat("No frame has a label: whether the groups are right cannot be measured here.", text, True)]
    found = []
    n = facts.n_labelled_test
    if not n:
        text = (
            "All labels are on training frames. Figures on frames the models were trained on are not shown as results."
        )
        found.append(Caveat("No test frame has a label, so nothing could be scored.", text, True))
    elif n < FEW_TEST_LABELS:
        text = (
            f"By counting alone, a share measured on {counted(n, 'frame')} can be off by {100 * half_width(n):.0f} "
            "percentage points either way, and by more since frames of one subject look alike. Smaller differences "
            "are no differences."
        )
        found.append(Caveat(f"Only {counted(n, 'labelled test frame')}.", text, True))
    if facts.labelled_share < 0.5:
        text = (
            f"{counted(facts.n_labelled, 'frame')} of {facts.n_frames:,} carry a readable label. The figures speak for "
            "those; frames without a label may be of other kinds."
        )
        found.append(Caveat("Most frames have no label.", text))
    return found


def _chance(given: ReportInput, facts: Facts) -> list[Caveat]:
    shown, lines = given.shown, given.chance or {}
    if shown is None or shown.n_clusters not in lines or not facts.n_labelled_test:
        return []
    mine = _pick(given.purity, shown.model, shown.n_clusters)
    reached = float(mine.loc[mine["seed"] == shown.seed, "cluster_purity"].iloc[0])
    chance = lines[shown.n_clusters]["cluster_purity"]
    if reached - chance > half_width(facts.n_labelled_test):
        return []
    text = (
        f"Groups of the same sizes filled at random would reach {percent(chance)} % purity; "
        f"{model_words(shown.model).name} reaches {percent(reached)} %. With this many frames that gap may be luck."
    )
    return [Caveat("The groups shown are hardly purer than chance.", text, True)]


def _self_labelling(given: ReportInput) -> list[Caveat]:
    """Self-labelling against the model it started from, on the test split: it may lose clusters and purity."""
    found = []
    for model in dict.fromkeys(given.purity["model"]):
        before = before_self_labelling(model)
        if before is None:
            continue
        losses = []
        for k in sorted(given.purity.loc[given.purity["model"] == model, "n_clusters"].unique()):
            if lost := _lost(_pick(given.purity, model, k), _pick(given.purity, before, k)):
                losses.append(f"K {k}: {listed(lost)}")
        if losses:
            title = f"Training on its own guesses cost {model_words(model).name} something."
            start = f"Mean over runs, against {model_words(before).name} on the test frames. "
            found.append(Caveat(title, f"{start}{'; '.join(losses)}. The published study saw such losses too."))
    if given.stopped is not None and given.stopped["stopped_because"].notna().any():
        ended = [
            f"{model_words(row['model']).name}, K {row['n_clusters']}, seed {row['seed']}: {row['stopped_because']}"
            for row in given.stopped.dropna(subset=["stopped_because"]).to_dict("records")
        ]
        text = f"{'; '.join(ended)}. What is reported is the last state before that."
        found.append(Caveat(f"Self-labelling was stopped early in {counted(len(ended), 'run')}.", text))
    return found


def _lost(after: pd.DataFrame, before: pd.DataFrame) -> list[str]:
    """What the mean over the common seeds lost, in words."""
    both = after.merge(before, on="seed", suffixes=("", "_before"))
    means = both[["filled_clusters", "filled_clusters_before", "cluster_purity", "cluster_purity_before"]]
    filled, filled_before, purity, purity_before = means.astype(float).mean()
    lost = []
    if filled < filled_before:
        lost.append(f"filled groups went from {filled_before:.1f} to {filled:.1f}")
    if purity_before - purity > NOTICEABLE:
        lost.append(f"purity went from {percent(purity_before)} to {percent(purity)} %")
    return lost


def _pick(purity: pd.DataFrame, model: str, n_clusters: int) -> pd.DataFrame:
    """A model's test rows at one K."""
    return purity[(purity["model"] == model) & (purity["n_clusters"] == n_clusters) & (purity["split"] == "test")]


def _rare_views(facts: Facts) -> list[Caveat]:
    if not facts.n_labelled_test:
        return []
    rare = [f"{count.view} ({count.test})" for count in facts.views if count.frames and count.test < FEW_PER_VIEW]
    found = []
    if rare:
        text = f"Test frames in brackets: {listed(rare)}. What this page says of these views rests on single frames."
        found.append(Caveat(f"{counted(len(rare), 'view')} with fewer than {FEW_PER_VIEW} test frames.", text))
    if facts.absent_views:
        text = f"No label names {listed(facts.absent_views)}. Such frames may be among those without a label."
        found.append(Caveat(f"{counted(len(facts.absent_views), 'view')} of the fifteen never seen.", text))
    return found


def _subjects(facts: Facts) -> list[Caveat]:
    found = []
    if facts.n_subject_unknown:
        text = (
            f"For {counted(facts.n_subject_unknown, 'frame')} neither file nor path names a patient, so each file "
            "counts as a subject of its own. Frames of one patient may then be on both sides of the split, which "
            "flatters the figures."
        )
        found.append(Caveat("Some frames could not be tied to a subject.", text))
    if facts.n_labelled_test and facts.n_test_subjects < FEW_TEST_SUBJECTS:
        text = "Figures may hang on a few subjects' anatomy or on how they were scanned."
        found.append(Caveat(f"Only {counted(facts.n_test_subjects, 'subject')} to test on.", text))
    return found


def _held_back(facts: Facts) -> list[Caveat]:
    if facts.n_scans and facts.n_quarantined / facts.n_scans > HELD_BACK:
        text = (
            "They are not part of any figure; see the reasons under Data. If they differ in kind, so would the figures."
        )
        share = percent(facts.n_quarantined / facts.n_scans)
        return [Caveat(f"{share} % of the frames were held back because text removal could not be trusted.", text)]
    return []


def _seeds(given: ReportInput) -> list[Caveat]:
    learnt = given.purity[given.purity["model"] != "supervised"]
    if (
        learnt.empty
        or not learnt["cluster_purity"].notna().any()
        or learnt.groupby("model")["seed"].nunique().max() > 1
    ):
        return []
    return [
        Caveat("One run each.", "Figures of a single seed carry no spread; another start may come out differently.")
    ]


def limits(given: ReportInput, facts: Facts) -> list[str]:
    """What the page cannot show, in plain sentences; several more when frames are few."""
    found = [*_limits_of_few(given, facts)] if 0 < facts.n_frames < SMALL_CORPUS else []
    if not facts.n_labelled:
        found.append("Whether a group is one view. Only a person looking at the pictures below can say that.")
    elif given.labels is None:
        found.append(
            "Whether the labels are right. They were read from text on the screen; a wrong one counts against a group "
            "that is right."
        )
    if facts.n_machines == 1 and not facts.machines_unknown:
        found.append(f"How it would do on another machine: every frame comes from one model, {facts.machines[0][0]}.")
    found.append("Whether a frame is a correct standard plane, or the anatomy normal. Groups go by likeness only.")
    return [tight(text) for text in found]


def _limits_of_few(given: ReportInput, facts: Facts) -> list[str]:
    n, published = facts.n_frames, PAPER_VIEW_SHARES
    found = []
    short = [view for view, share in published.items() if n * share < FEW_PER_VIEW]
    if short:
        rarest = n * published[short[-1]]
        text = "none or one" if rarest < 1 else f"about {rarest:.0f}"
        found.append(
            f"Whether every view gets a group of its own. At the shares of the published data set, {n:,} frames hold "
            f"fewer than {FEW_PER_VIEW} of {counted(len(short), 'view')} out of fifteen, and of {short[-1]} {text}. "
            "That is too few to form groups."
        )
    found.append(
        f"How well the method can work. The published networks learned from 70,446 frames, these from "
        f"{facts.n_train:,}. At this size groups mostly follow what is easy to see: brightness, depth, the shape of "
        "the picture, the machine."
    )
    if given.shown and facts.n_train < FEW_PER_GROUP * given.shown.n_clusters:
        per = facts.n_train / given.shown.n_clusters
        found.append(
            f"Stable groups. {facts.n_train:,} training frames for {given.shown.n_clusters} groups is {per:.1f} each; "
            "another random start would group them differently."
        )
    if half_width(facts.n_test) > 0.1:
        found.append(
            f"How it would do on new patients. {counted(facts.n_test, 'test frame')} of "
            f"{counted(facts.n_test_subjects, 'subject')} cannot tell a method that is right 60 % of the time from one "
            "that is right 80 %."
        )
    return found
