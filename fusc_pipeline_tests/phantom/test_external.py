"""Phantoms of another data set: laid out as FETAL_PLANES_DB, on machines and with a plane that no other phantom has."""

from pathlib import Path

import pandas as pd
import pytest

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.hashing import sha256_file
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.phantom import PhantomConfig, truth_path
from fusc_pipeline.phantom.config import CERVIX, plan
from fusc_pipeline.phantom.deliver import TRUTH
from fusc_pipeline.phantom.external import SHARES, TABLE, external_config, write_external
from fusc_pipeline.phantom.label_words import CERVIX_NAMES, choose_label
from fusc_pipeline.phantom.machine_styles import EXTERNAL_MACHINES, MACHINES
from fusc_pipeline.scans.datasets import PLANE_VIEWS, plane_of, read_data_set
from fusc_pipeline.scans.files import list_files
from fusc_pipeline.text.lexicon import views_named

CONFIG = external_config(24, 5, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("phantom") / "planes"
    assert write_external(made, CONFIG) == truth_path(made)
    return made


def test_the_delivery_is_read_as_the_data_set(folder: Path):
    found = read_data_set(list_files(folder))
    assert found.layout == "fetal_planes_db" and len(found.images) == 24 and not found.bad_rows
    truth = pd.read_parquet(truth_path(folder)).set_index("file")
    assert list(truth.reset_index().columns.sort_values()) == sorted(TRUTH.names)
    for path, facts in found.images.items():
        view, plane = truth.loc[path, "view"], plane_of(facts.label)
        assert view in PLANE_VIEWS[plane] or (plane, view) == ("Maternal cervix", CERVIX) or plane == "Other"
        assert sha256_file(folder / path) == truth.loc[path, "source_sha256"]
    assert {facts.split for facts in found.images.values()} == {"train", "test"}
    assert len({facts.subject for facts in found.images.values()}) == 5


def test_one_seed_gives_the_same_bytes(folder: Path, tmp_path: Path):
    write_external(tmp_path / "again", external_config(24, 5, seed=3))
    assert (tmp_path / "again" / TABLE).read_bytes() == (folder / TABLE).read_bytes()
    for path in sorted((folder / "Images").iterdir())[:3]:
        assert sha256_file(tmp_path / "again" / "Images" / path.name) == sha256_file(path)
    with pytest.raises(BadInput, match="not an empty folder"):
        write_external(folder, CONFIG)


def test_the_classes_have_the_papers_shares():
    views = plan(external_config(1000, 80)).views
    scored = [view for view in views if view in ("Abdomen", "Brain", "Femur", "4CH", CERVIX)]
    for view in ("Abdomen", "Brain", "Femur", "4CH", CERVIX):
        assert scored.count(view) / len(scored) == pytest.approx(SHARES[view] / 8187, abs=0.005)


def test_the_cervix_is_no_view_and_its_names_label_nothing():
    assert CERVIX not in VIEWS and CERVIX not in PhantomConfig().planes
    assert not [name for name in CERVIX_NAMES if views_named(name)]
    config = PhantomConfig(view_shares={CERVIX: 1}, external=True, p_wrong_label=0, p_two_views=0, p_no_label=0)
    typed = [choose_label(config, CERVIX, config.rng(9, index)) for index in range(20)]
    assert all(label.text and label.view is None for label in typed)
    with pytest.raises(BadSetting, match="none of the 15 views"):
        PhantomConfig(view_shares={CERVIX: 1})


def test_no_machine_is_shared_with_the_other_phantoms():
    looks = {(machine.layout, machine.size) for machine in MACHINES}
    assert not looks & {(machine.layout, machine.size) for machine in EXTERNAL_MACHINES}


def test_a_view_that_the_data_set_has_no_name_for_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="'LVOT' is no plane"):
        write_external(tmp_path / "x", PhantomConfig(n_frames=2, n_subjects=1, view_shares={"LVOT": 1}, external=True))
