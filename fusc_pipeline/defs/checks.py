"""Checks: invariants block what comes after (ERROR), quality warns (WARN). Each says what is wrong and what to do."""

import numpy as np

from fusc_pipeline.defs.clustering import MODELS
from fusc_pipeline.defs.external import PREDICTIONS
from fusc_pipeline.defs.tables import embedding_arrays
from fusc_pipeline.defs.verdicts import WARN, Check, Finding, Made, check, finding

PUBLISHED_NOISE = 0.02  # "under 2 %" of the labels the paper's authors reviewed


@check("corpus", blocking=True)
def subjects_in_one_split(made: Made) -> Finding:
    """No subject is in both splits, and both splits hold images."""
    import pyarrow.compute as pc

    table = made.table(["subject_key", "split"])
    splits = table.group_by("subject_key").aggregate([("split", "count_distinct")])
    shared = pc.sum(pc.greater(splits.column("split_count_distinct"), 1)).as_py() or 0
    present = set(table.column("split").unique().to_pylist())
    return finding(
        shared == 0 and present == {"train", "test"},
        f"{shared} subjects are in both splits; splits with images: {', '.join(sorted(present))}. "
        "Materialise corpus again with force.",
        shared_subjects=shared,
    )


@check("corpus")
def labels_were_read(made: Made) -> Finding:
    """Some images carry a pseudo-label; without any, clusters are made but not scored."""
    views = made.table(["view"]).column(0)
    labelled = len(views) - views.null_count
    return finding(
        labelled > 0,
        f"none of {len(views)} images has a readable view label: clusters are made, purity and the supervised line are "
        "left out. If the frames carry labels, look at `reason` in pseudo_labels and at burned_in_text with keep_text.",
        WARN,
        labelled=labelled,
        images=len(views),
    )


def _embeddings_are_unit_vectors(encoder: str) -> Check:
    @check(f"{encoder}_embeddings", name="embeddings_are_unit_vectors", blocking=True)
    def judge(made: Made) -> Finding:
        """Every embedding is finite and of length 1."""
        _, _, vectors = embedding_arrays(made.table())
        off = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max())  # NaN compares false below, so it fails too
        return finding(
            off < 1e-3,
            f"an embedding's length is off by {off:.3g}: the encoder diverged; lower {encoder}_encoder.lr, train again",
            largest_deviation=off,
        )

    return judge


LEAST_RANK = 5


def _frozen_has_directions(encoder: str, rank: float) -> Finding:
    return finding(
        rank > LEAST_RANK,
        f"the embedding's effective rank is {rank:.1f}: the frozen checkpoint says the same of every image; check that "
        f"{encoder}_encoder.encoder.weights is of these pictures' kind, or train on from it (frozen: false)",
        WARN,
        effective_rank=rank,
    )


@check("simclr_encoder", name="encoder_did_not_collapse")
def simclr_did_not_collapse(made: Made) -> Finding:
    """The embedding uses more than a few directions."""
    found = made.record.metadata
    rank = float(found["effective_rank"])
    if "trained" in found:
        return _frozen_has_directions("simclr", rank)
    return finding(
        rank > LEAST_RANK,
        f"the embedding's effective rank is {rank:.1f}: it says the same of every image; train longer, lower "
        "simclr_encoder.lr, or raise batch_size",
        WARN,
        effective_rank=rank,
    )


@check("dino_encoder", name="encoder_did_not_collapse")
def dino_did_not_collapse(made: Made) -> Finding:
    """The teacher neither says the same of every image nor nothing of any, and the embedding has several directions."""
    found = made.record.metadata
    if "trained" in found:
        return _frozen_has_directions("dino", float(found["effective_rank"]))
    share, kl, rank = (float(found[name]) for name in ("teacher_entropy_share", "kl", "effective_rank"))
    if share > 0.98:
        words = f"the teacher's entropy is {share:.0%} of its maximum, it says nothing: lower teacher_temperature"
    elif kl < 1e-3:
        words = f"student and teacher agree entirely (KL {kl:.2g}), on one answer: raise center_momentum or out_dim"
    else:
        words = (
            f"the embedding's effective rank is {rank:.1f}: it says the same of every image; train longer, or lower lr"
        )
    return finding(
        share <= 0.98 and kl >= 1e-3 and rank > LEAST_RANK,
        f"{words} (settings of dino_encoder)",
        teacher_entropy_share=share,
        kl=kl,
        effective_rank=rank,
    )


def _no_image_is_its_own_neighbor(encoder: str) -> Check:
    @check(f"{encoder}_neighbors", name="no_image_is_its_own_neighbor", blocking=True)
    def judge(made: Made) -> Finding:
        """Neighbour lists are equally long and never hold the image itself."""
        rows = made.table(["image_id", "neighbor_ids"]).to_pylist()
        own = sum(row["image_id"] in row["neighbor_ids"] for row in rows)
        lengths = {len(row["neighbor_ids"]) for row in rows}
        return finding(
            own == 0 and len(lengths) == 1,
            f"{own} images are their own neighbours; list lengths {sorted(lengths)}. Make it again with force.",
            own_neighbours=own,
        )

    return judge


def _every_image_assigned(model: str) -> Check:
    @check(model, name="every_image_is_in_one_cluster", blocking=True)
    def judge(made: Made) -> Finding:
        """Each fit assigns every image of the corpus once, to one of its K clusters, with a probability that can be."""
        import pyarrow.compute as pc

        table = made.table(["image_id", "n_clusters", "seed", "cluster", "confidence"])
        images = made.files.table("corpus", columns=["image_id"]).num_rows
        fits = table.group_by(["n_clusters", "seed"]).aggregate([("image_id", "count_distinct"), ("image_id", "count")])
        wrong = [
            row
            for row in fits.to_pylist()
            if row["image_id_count"] != images or row["image_id_count_distinct"] != images
        ]
        cluster, k = table.column("cluster"), table.column("n_clusters")
        outside = pc.sum(pc.or_(pc.less(cluster, 0), pc.greater_equal(cluster, k))).as_py() or 0
        # The largest of K probabilities that sum to one is 1/K or more; NaN compares false, and so counts as well.
        sure = pc.multiply(table.column("confidence").cast("float64"), k)
        possible = pc.and_(pc.greater_equal(sure, 1 - 1e-3), pc.less_equal(table.column("confidence"), 1 + 1e-3))
        unsound = table.num_rows - (pc.sum(possible).as_py() or 0)
        return finding(
            not wrong and not outside and not unsound,
            f"{len(wrong)} fits do not assign each of {images} images once; {outside} assignments are outside 0..K-1, "
            f"{unsound} probabilities outside 1/K..1: the training diverged; lower {model}'s learning rate, or "
            "materialise it with force.",
            fits=fits.num_rows,
        )

    return judge


every_image_assigned = [_every_image_assigned(model) for model in MODELS]


@check("external_purity", blocking=True)
def external_images_are_unknown_to_the_models(made: Made) -> Finding:
    """No scored image is in the corpus, and no scored batch is one of the corpus's."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    scored = pq.read_table(made.folder / PREDICTIONS, columns=["image_id", "scan_batch"])
    corpus = made.files.table("corpus", columns=scored.column_names)
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
def external_predictions_are_sound(made: Made) -> Finding:
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


@check("inpainting_audit", blocking=True)
def no_word_is_left(made: Made) -> Finding:
    """Neither OCR engine reads a word of three letters or more on the sampled clean images."""
    from fusc_pipeline.audits.removal_audit import EITHER, RESIDUAL, figure

    found = figure(made.table().to_pandas(), RESIDUAL, EITHER)
    tolerated = made.record.config["tolerated_residual"]
    return finding(
        found.n > 0 and found.value <= tolerated,
        f"a word can still be read on {found.count} of {found.n} sampled clean images ({found.low:.1%} to "
        f"{found.high:.1%} of all): look at the worst-*.png in {made.folder}. If it is text, "
        "raise burned_in_text.canvas and run again; if it is anatomy, set inpainting_audit.tolerated_residual.",
        images=found.n,
        with_text=found.count,
    )


@check("inpainting_audit")
def labels_do_not_leak(made: Made) -> Finding:
    """A network tells the view from where a label stood no better than from elsewhere on the same frames."""
    from fusc_pipeline.audits.removal_audit import LEAK, POWER, PROBE, UNCLEANED_PROBE, figure

    table = made.table().to_pandas()
    leak, power = figure(table, LEAK, PROBE), figure(table, POWER, UNCLEANED_PROBE)
    tolerated = made.record.config["tolerated_leak"]
    if leak.value is None:
        return finding(True, "", measured=leak.detail)
    return finding(
        leak.low <= tolerated,
        f"where labels stood, the view is told on {leak.value:.1%} more frames than elsewhere ({leak.low:.1%} to "
        f"{leak.high:.1%}, tolerated {tolerated:.1%}): clustering may follow traces of the text. Look at the worst "
        "cases of inpainting_audit, and train with them left out before believing a purity.",
        WARN,
        measured="yes" if power.low > 0 else "the probe is too weak: it does not even read uncleaned labels",
        leak=leak.value,
    )


@check("inpainting_audit", blocking=True)
def attention_is_not_on_former_text(made: Made) -> Finding:
    """A view classifier looks at places where text was no more than at other places of the fan."""
    from fusc_pipeline.audits.attention_rows import CLEANED, EXCESS, UNCLEANED
    from fusc_pipeline.audits.removal_audit import figure

    table = made.table().to_pandas()
    found, before = figure(table, EXCESS, CLEANED), figure(table, EXCESS, UNCLEANED)
    tolerated = made.record.config["tolerated_attention"]
    if found.low is None:
        return finding(True, "", measured=found.detail)
    return finding(
        found.low <= tolerated,
        f"a classifier of cleaned frames looks {found.value:.1f} times as much at places where text was as at like "
        f"places elsewhere ({found.low:.1f} to {found.high:.1f}, tolerated {tolerated:.1f}; {found.n} frames): it may "
        "tell views by traces of their names, and clustering may too. Look at the attention-*.png in "
        f"{made.folder}. If traces can be seen, raise burned_in_text.canvas and run again; if "
        "text lay over the anatomy itself, set inpainting_audit.tolerated_attention.",
        measured="yes" if before.low and before.low > 1 else "weakly: nor is text looked at before cleaning",
        excess=found.value,
        frames=found.n,
    )


@check("label_audit")
def labels_are_right(made: Made) -> Finding:
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


of_every_encoder = [
    check(encoder)
    for encoder in ("simclr", "dino")
    for check in (_embeddings_are_unit_vectors, _no_image_is_its_own_neighbor)
]
