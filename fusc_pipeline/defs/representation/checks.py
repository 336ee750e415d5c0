"""Checks of encoders, embeddings and neighbours."""

import numpy as np

from fusc_pipeline.defs.engine.arrays import embedding_arrays
from fusc_pipeline.defs.engine.check import WARN, Check, CheckedVersion, Finding, check, finding


def _embeddings_are_unit_vectors(encoder: str) -> Check:
    @check(f"{encoder}_embeddings", name="embeddings_are_unit_vectors", blocking=True)
    def judge(made: CheckedVersion) -> Finding:
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
def simclr_did_not_collapse(made: CheckedVersion) -> Finding:
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
def dino_did_not_collapse(made: CheckedVersion) -> Finding:
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
    def judge(made: CheckedVersion) -> Finding:
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


of_every_encoder = [
    check(encoder)
    for encoder in ("simclr", "dino")
    for check in (_embeddings_are_unit_vectors, _no_image_is_its_own_neighbor)
]
