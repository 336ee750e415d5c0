"""Checks: invariants block what comes after (ERROR), quality warns (WARN). Each says what is wrong and what to do."""

from typing import TYPE_CHECKING

import numpy as np

from fusc_pipeline.defs.engine.check import WARN, CheckedVersion, Finding, check, finding
from fusc_pipeline.defs.evaluation.external import PREDICTIONS

if TYPE_CHECKING:
    from fusc_pipeline.audits.removal_audit import Figure

PUBLISHED_NOISE = 0.02  # "under 2 %" of the labels the paper's authors reviewed


@check("external_purity", blocking=True)
def external_images_are_unknown_to_the_models(made: CheckedVersion) -> Finding:
    """No scored image is in the corpus, and no scored batch is one of the corpus's."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    scored = pq.read_table(made.folder / PREDICTIONS, columns=["image_id", "scan_batch"])
    corpus = made.store.table("corpus", columns=scored.column_names)
    shared, batches = (
        len(set(pc.unique(scored.column(name)).to_pylist()) & set(pc.unique(corpus.column(name)).to_pylist()))
        for name in scored.column_names
    )
    return finding(
        shared == 0 and batches == 0,
        f"{shared} scored images and {batches} scored batches are in the corpus, where models were trained on them: "
        "materialise corpus, then external_purity, with force.",
        shared_images=shared,
    )


@check("external_purity", blocking=True)
def external_predictions_are_sound(made: CheckedVersion) -> Finding:
    """Each fit put every scored image into one cluster from 0 to K-1, with a finite probability."""
    import pyarrow.parquet as pq

    table = pq.read_table(made.folder / PREDICTIONS).to_pandas()
    sure = table["confidence"].to_numpy()
    wrong = int((~np.isfinite(sure) | (sure <= 0) | (sure > 1 + 1e-5)).sum())
    outside = int(((table["cluster"] < 0) | (table["cluster"] >= table["n_clusters"])).sum())
    again = int(table.duplicated(["scan_batch", "image_id", "model", "n_clusters", "seed"]).sum())
    return finding(
        not wrong and not outside and not again,
        f"{wrong} probabilities are no numbers from 0 to 1, {outside} clusters are outside 0..K-1, {again} images were "
        "put into two clusters: a model's weights are damaged or diverged; materialise it with force.",
        predictions=len(table),
    )


def _figure(made: CheckedVersion, measure: str, by: str) -> "Figure":
    """A row of the audit's table."""
    from fusc_pipeline.audits.removal_audit import required

    return required(made.table().to_pandas(), measure, by)


@check("inpainting_audit", blocking=True)
def no_word_is_left(made: CheckedVersion) -> Finding:
    """Neither OCR engine reads a word of three letters or more on the sampled clean images."""
    from fusc_pipeline.audits.removal_audit import EITHER, RESIDUAL

    found = _figure(made, RESIDUAL, EITHER)
    share, tolerated = found.interval, made.record.config["tolerated_residual"]
    of_all = f" ({share.low:.1%} to {share.high:.1%} of all)" if share else ""
    return finding(
        share is not None and found.n > 0 and share.value <= tolerated,
        f"a word can still be read on {found.count} of {found.n} sampled clean images{of_all}: "
        f"look at the worst-*.png in {made.folder}. If it is text, "
        "raise burned_in_text.canvas and run again; if it is anatomy, set inpainting_audit.tolerated_residual.",
        images=found.n,
        with_text=found.count,
    )


@check("inpainting_audit")
def labels_do_not_leak(made: CheckedVersion) -> Finding:
    """A network tells the view from where a label stood no better than from elsewhere on the same frames."""
    from fusc_pipeline.audits.removal_audit import LEAK, POWER, PROBE, UNCLEANED_PROBE

    tolerated = made.record.config["tolerated_leak"]
    if (leak := _figure(made, LEAK, PROBE).interval) is None:
        return finding(True, "", measured=_figure(made, LEAK, PROBE).detail)
    power = _figure(made, POWER, UNCLEANED_PROBE).interval
    return finding(
        leak.low <= tolerated,
        f"where labels stood, the view is told on {leak.value:.1%} more frames than elsewhere ({leak.low:.1%} to "
        f"{leak.high:.1%}, tolerated {tolerated:.1%}): clustering may follow traces of the text. Look at the worst "
        "cases of inpainting_audit, and train with them left out before believing a purity.",
        WARN,
        measured="yes" if power and power.low > 0 else "the probe is too weak: it does not even read uncleaned labels",
        leak=leak.value,
    )


@check("inpainting_audit", blocking=True)
def attention_is_not_on_former_text(made: CheckedVersion) -> Finding:
    """A view classifier looks at places where text was no more than at other places of the fan."""
    from fusc_pipeline.audits.attention_rows import CLEANED, EXCESS, UNCLEANED
    from fusc_pipeline.audits.removal_audit import figure

    found, before = _figure(made, EXCESS, CLEANED), figure(made.table().to_pandas(), EXCESS, UNCLEANED)
    tolerated = made.record.config["tolerated_attention"]
    if (excess := found.interval) is None:
        return finding(True, "", measured=found.detail)
    return finding(
        excess.low <= tolerated,
        f"a classifier of cleaned frames looks {excess.value:.1f} times as much at places where text was as at like "
        f"places elsewhere ({excess.low:.1f} to {excess.high:.1f}, tolerated {tolerated:.1f}; {found.n} frames): it "
        "may tell views by traces of their names, and clustering may too. Look at the attention-*.png in "
        f"{made.folder}. If traces can be seen, raise burned_in_text.canvas and run again; if "
        "text lay over the anatomy itself, set inpainting_audit.tolerated_attention.",
        measured="yes" if before and before.low and before.low > 1 else "weakly: nor is text looked at before cleaning",
        excess=excess.value,
        frames=found.n,
    )


@check("label_audit")
def labels_are_right(made: CheckedVersion) -> Finding:
    """Reviewers found no more noise in the pseudo-labels than the published study did."""
    from fusc_pipeline.audits.label_noise import overall

    rate = overall(made.table().to_pandas())
    return finding(
        rate.low <= PUBLISHED_NOISE,
        f"{rate.low:.1%} or more of the labels are wrong (published: under {PUBLISHED_NOISE:.0%}): see the wrong ones "
        "in the report, and raise pseudo_labels.min_score or add the misread words to the lexicon.",
        WARN,
        judged=rate.n,
    )
