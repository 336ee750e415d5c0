"""A phantom data set as FETAL_PLANES_DB is distributed: its table beside `Images/`, other machines, the cervix.

What a model trained on the other phantoms has never seen: `external_purity` is tested and demonstrated on it.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.phantom.config import CERVIX, STREAM_FILE, PhantomConfig, plan
from fusc_pipeline.phantom.deliver import each_subject, truth_row, write_truth
from fusc_pipeline.phantom.render import render_frame, subject_of

TABLE = "FETAL_PLANES_DB_data.csv"
COLUMNS = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train")
TRAIN_SHARE = 0.575  # of its patients (7,129 of 12,400 images)

# Its name of a plane -> our views that show it; what is no plane of its list is "Other". Numbers in its file names.
PLANES: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "Other": (1, ("Spine", "Profile", "Lips/Nose", "Kidney", "Feet")),
    "Fetal abdomen": (2, ("Abdomen",)),
    "Fetal brain": (3, ("Brain",)),
    "Maternal cervix": (4, (CERVIX,)),
    "Fetal femur": (5, ("Femur",)),
    "Fetal thorax": (6, ("4CH",)),
}
_PLANE_OF = {view: (name, number) for name, (number, views) in PLANES.items() for view in views}

# Images of each plane in the data set (Burgos-Artizzu et al. 2020, Table 1), without the far more numerous Other, of
# which a tenth as many as of all planes is made.
SHARES: Mapping[str, float] = {
    "Abdomen": 711,
    "Brain": 3092,
    "Femur": 1040,
    "4CH": 1718,
    CERVIX: 1626,
    **dict.fromkeys(PLANES["Other"][1], 8187 / 10 / len(PLANES["Other"][1])),
}


def external_config(n_frames: int, n_subjects: int, seed: int = 0) -> PhantomConfig:
    """Single frames in the data set's shares, most without anything typed, as it has been published."""
    return PhantomConfig(
        n_frames=n_frames,
        n_subjects=n_subjects,
        seed=seed,
        view_shares=SHARES,
        p_no_label=0.92,
        p_two_views=0.0,
        p_wrong_label=0.0,
        p_second_annotation=0.03,
        cine_share=0.0,
        external=True,
    )


def write_external(folder: Path, config: PhantomConfig, n_jobs: int = 1) -> Path:
    """Write table and images into `folder` (new or empty) and the truth beside it; returns the truth table's path.

    One seed gives the same bytes, whatever `n_jobs` is. Raises BadInput when the folder holds something, or when a
    frame shows a view that the data set has no name for.
    """
    folder = Path(folder)
    if unnamed := [view for view in dict.fromkeys(plan(config).views) if view not in _PLANE_OF]:
        raise BadInput(f"{unnamed[0]!r} is no plane of the data set; views that have one: {', '.join(_PLANE_OF)}")
    rows = each_subject(folder, config, partial(_write_patient, folder, config), n_jobs)
    table = [COLUMNS, *(cast(list[object], row.pop("entry")) for row in rows)]
    (folder / TABLE).write_text("".join(";".join(map(str, cells)) + "\n" for cells in table))
    return write_truth(folder, rows)


def _write_patient(folder: Path, config: PhantomConfig, number: int) -> list[dict[str, object]]:
    """One patient's images; their rows of the truth, each with its row of the table as `entry`."""
    home = folder / "Images"
    home.mkdir(exist_ok=True)
    rng = config.rng(STREAM_FILE, number)
    train = int(rng.random() < TRAIN_SHARE)
    operator = str(rng.choice(["Op. 1", "Op. 2", "Op. 3", "Other"]))
    layout = plan(config)
    mine = [index for index, subject in enumerate(layout.subjects) if subject == number]
    planes = [_PLANE_OF[layout.views[index]] for index in mine]
    rows, seen = [], dict.fromkeys(planes, 0)
    for index, (name, plane) in zip(mine, planes, strict=True):
        frame = render_frame(config, index)
        seen[name, plane] += 1
        image = f"Patient{number + 1:05d}_Plane{plane}_{seen[name, plane]}_of_{planes.count((name, plane))}"
        path = home / f"{image}.png"
        Image.fromarray(np.ascontiguousarray(frame.screen)).save(path, compress_level=3)
        brain = _brain_plane(frame.structures) if name == "Fetal brain" else "Not A Brain"
        machine = subject_of(config, number).machine.model
        entry = (image, number + 1, name, brain, operator, machine, train)
        rows.append({**truth_row(path, folder, 0, frame), "entry": entry})
    return rows


def _brain_plane(structures: frozenset[str]) -> str:
    """Which of the data set's cuts through the brain holds these."""
    return "Trans-cerebellum" if "cerebellum near" in structures else "Trans-ventricular"
