"""Train/test division: by subject, stratified by view (the paper: "randomly by subject and view", 80/20)."""

from collections import Counter
from collections.abc import Sequence

from fusc_pipeline.errors import BadInput


def split_by_subject(
    subjects: Sequence[str], views: Sequence[str | None], test_share: float = 0.2, seed: int = 0
) -> list[str]:
    """Return "train" or "test" for each image: no subject is in both, the views' shares are kept as well as can be.

    scikit-learn's StratifiedGroupKFold with round(1 / test_share) folds, the first of which is the test split; images
    without a view are a stratum of their own. Raises BadInput for fewer than two subjects.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = sorted(set(subjects))
    if len(names) < 2:
        raise BadInput(
            f"the corpus has {len(names)} subject; a subject-wise split needs two or more: add another batch, or check "
            "`subject_pattern` of the scans asset if the files' names tell the subjects apart"
        )
    folds = min(max(2, round(1 / test_share)), len(names))
    counts = Counter(views)
    # a view with fewer images than folds cannot be spread over them; such views share one stratum with the unlabelled
    strata = [view if view is not None and counts[view] >= folds else "" for view in views]
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    _, test = next(splitter.split(strata, strata, subjects))
    held_out = set(test.tolist())
    return ["test" if i in held_out else "train" for i in range(len(subjects))]
