"""The history of models in words: for `fusc models` and for an asset's page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.service.bundle import Bundle

Row = Mapping[str, Any]  # of `schemas.MODEL_IN_SERVICE`


def history_markdown(rows: Sequence[Row], last: int = 30) -> str:
    """The latest rows of the history as a Markdown table, newest first."""
    lines = ["| when (UTC) | model | | in service | why |", "|---|--:|---|--:|---|"]
    for row in reversed(rows[-last:]):
        lines.append(
            f"| {row['at']:%Y-%m-%d %H:%M} | {row['number']} | {row['action'].replace('_', ' ')} | {row['in_service']} "
            f"| {row['why']} |"
        )
    return "\n".join(lines)


def models_text(rows: Sequence[Row], folder: Path) -> str:
    """Every model, newest first: whether it is in service, when it came, what it is made of, and what was decided.

    folder: where the bundles lie, one by number.
    """
    if not rows:
        return "no model is in service yet; make one: fusc run"
    now = rows[-1]["in_service"]
    lines = []
    for number in sorted({row["number"] for row in rows}, reverse=True):
        mine = [row for row in rows if row["number"] == number]
        mark = "*" if number == now else " "
        lines.append(f"{mark} model {number}: {_made_of(folder / str(number))}")
        lines += [f"    {row['at']:%Y-%m-%d %H:%M} {row['action'].replace('_', ' ')}: {row['why']}" for row in mine]
    return "\n".join([*lines, "* in service; another one: fusc promote NUMBER, the one before: fusc rollback"])


def _made_of(folder: Path) -> str:
    try:
        facts = Bundle.open(folder).facts
    except BadInput:
        return "its files are missing or damaged, it cannot be put in service"
    nmi, purity = facts.evaluation.get("nmi"), facts.evaluation.get("cluster_purity")
    scores = "no labels" if nmi is None else f"NMI {nmi:.3f}, purity {purity:.3f}"
    images = f"{facts.images['train']} training images"
    fit = f"{facts.row}, K {facts.n_clusters}, seed {facts.seed}"
    return f"{fit}, {images}; on its {facts.images['test']} test images: {scores}"
