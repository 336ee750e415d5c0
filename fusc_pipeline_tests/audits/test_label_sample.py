"""Which frames are drawn to be judged: shares, least, most, unlabelled, and the same again for the same seed."""

import pandas as pd
import pytest

from fusc_pipeline.audits.label_sample import UNLABELLED, SampleConfig, draw
from fusc_pipeline.base.errors import BadInput, BadSetting


def frames(**counts):
    views = [None if view == "none" else view for view, n in counts.items() for _ in range(n)]
    return pd.DataFrame({"image_id": [f"{i:04d}" for i in range(len(views))], "view": views})


def drawn(sample):
    return sample["stratum"].value_counts().to_dict()


def test_a_share_of_each_view_and_some_at_the_least():
    sample = draw(frames(Spine=200, Femur=30, Feet=3, none=50), SampleConfig(share=0.1, least=5, unlabelled=8))
    assert drawn(sample) == {"Spine": 20, "Femur": 5, "Feet": 3, UNLABELLED: 8}
    assert sample["image_id"].is_unique
    sizes = sample.drop_duplicates("stratum").set_index("stratum")[["stratum_size", "stratum_sample"]]
    assert sizes.loc["Spine"].tolist() == [200, 20] and sizes.loc[UNLABELLED].tolist() == [50, 8]


def test_most_shrinks_the_share_but_never_below_the_least():
    assert drawn(draw(frames(Spine=900, Femur=100), SampleConfig(share=0.5, most=100))) == {"Spine": 90, "Femur": 10}
    assert drawn(draw(frames(Spine=900, Femur=100), SampleConfig(share=0.5, most=4))) == {"Spine": 5, "Femur": 5}


def test_equal_seeds_draw_equally_whatever_the_order_of_rows():
    table = frames(Spine=100, Femur=40, none=9)
    first = draw(table, SampleConfig(seed=3))
    assert first.equals(draw(table.sample(frac=1, random_state=1), SampleConfig(seed=3)))
    assert set(first["image_id"]) != set(draw(table, SampleConfig(seed=4))["image_id"])


def test_the_order_does_not_tell_the_view():
    sample = draw(frames(Spine=100, Femur=100), SampleConfig(share=0.5))
    runs = (sample["stratum"] != sample["stratum"].shift()).sum()
    assert runs > 20


def test_every_frame_of_a_view_is_as_likely_as_another():
    table = frames(Spine=20)
    hits = pd.concat([draw(table, SampleConfig(share=0.25, seed=s))["image_id"] for s in range(400)]).value_counts()
    assert len(hits) == 20 and hits.min() > 60 and hits.max() < 145


def test_nothing_to_draw_from_and_settings_out_of_range_are_refused():
    with pytest.raises(BadInput, match="no frame with a clean image"):
        draw(frames(), SampleConfig())
    with pytest.raises(BadSetting, match=r"SampleConfig\.share is 1.5"):
        SampleConfig(share=1.5)
