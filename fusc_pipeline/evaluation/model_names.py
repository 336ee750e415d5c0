"""Names of the tables' models, for somebody who does not train models."""

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


def before_self_labelling(model: str) -> str | None:
    """The model whose fits self-labelling continued to this one; None for a model that it did not make."""
    before = model.removesuffix("_selflabel")
    return before if before != model else None


def model_words(model: str) -> ModelWords:
    """Words for a model's asset name such as `fusc_simclr_selflabel`; the bare name for one not known here."""
    parts = model.split("_")
    encoder = next((_ENCODERS[part] for part in parts if part in _ENCODERS), None)
    words = _MODELS.get("_".join(part for part in parts if part not in _ENCODERS))
    if words is None:
        return ModelWords(model, "")
    return ModelWords(f"{words.name} ({encoder})", words.about) if encoder else words
