"""Plain words for what the report shows: names of models, reasons and figures, counts and lists in English."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelWords:
    """A model's short name and one line on what it does, for somebody who does not train models."""

    name: str
    about: str


_MODELS = {
    "kmeans": ModelWords("K-means", "the plain yardstick: puts each frame with the nearest of K average pictures"),
    "fusc": ModelWords("FUSC", "learns groups in which a frame and its nearest look-alikes agree; no labels used"),
    "fusc_selflabel": ModelWords(
        "FUSC*", "FUSC, then trained once more on the frames it was surest of; no labels used"
    ),
    "deepmcat": ModelWords("DeepMCAT", "groups and relearns in turn; no labels used"),
    "supervised": ModelWords("Supervised", "trained with the labels: the upper line to compare with, not a rival"),
}
_ENCODERS = {"simclr": "SimCLR", "dino": "DINO"}


def model_words(model: str) -> ModelWords:
    """Words for a model's asset name such as `fusc_simclr_selflabel`; the bare name for one not known here."""
    parts = model.split("_")
    encoder = next((_ENCODERS[part] for part in parts if part in _ENCODERS), None)
    words = _MODELS.get("_".join(part for part in parts if part not in _ENCODERS))
    if words is None:
        return ModelWords(model, "")
    return ModelWords(f"{words.name} ({encoder})", words.about) if encoder else words


LABEL_REASONS = {
    "labelled": "label read",
    "no_text": "no text on the frame",
    "no_match": "text, but none that names a view",
    "ambiguous": "text that names two views, or could",
    "low_confidence": "text too faint to be sure of",
}

# (column, heading, the heading's small print, what it means)
FIGURES = (
    (
        "cluster_purity",
        "Purity",
        "CP",
        "Share of the frames that show the commonest view of their group. It rises with the number of groups by itself "
        "(one frame per group is always 100 %), so compare it only within one K and against the chance line.",
    ),
    (
        "nmi",
        "Shared information",
        "NMI",
        "How much the group tells about the view and the view about the group, 0 to 100. Splitting a view over several "
        "groups lowers it, unlike purity. With few frames it is well above 0 by chance.",
    ),
    (
        "ari",
        "Pair agreement",
        "ARI",
        "Take two frames: do groups and labels agree on whether they belong together? 100 is perfect, 0 is chance.",
    ),
    (
        "accuracy",
        "Accuracy",
        "ACC",
        "Each view gets one group, each group one view, paired as well as possible (Hungarian matching): the share of "
        "frames in the right pair. Groups left over count as errors.",
    ),
    (
        "macro_recall",
        "Average per view",
        "macro recall",
        "For each view the share of its frames in its own group, then the mean over views: a rare view counts as much "
        "as a common one.",
    ),
)


def listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """ "1 frame", "1,204 frames"."""
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def tight(text: str) -> str:
    """Per cent signs kept on the line of their number."""
    return text.replace(" %", "\u00a0%")


def sentence(text: str) -> str:
    """A code such as `too_large` as words with a capital."""
    words = text.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
