"""Checks of every row's assignments."""

from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.check import Check, CheckedVersion, Finding, check, finding


def _every_image_assigned(model: str) -> Check:
    @check(model, name="every_image_is_in_one_cluster", blocking=True)
    def judge(made: CheckedVersion) -> Finding:
        """Each fit assigns every image of the corpus once, to one of its K clusters, with a probability that can be."""
        import pyarrow.compute as pc

        table = made.table(["image_id", "n_clusters", "seed", "cluster", "confidence"])
        images = made.store.table("corpus", columns=["image_id"]).num_rows
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
