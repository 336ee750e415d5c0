"""Per-image work is done once: a grown batch computes what is new, a killed run continues after its last part."""

import pytest

from fusc_pipeline.base.schemas import PSEUDO_LABELS
from fusc_pipeline.store.grow import MOST_PART_IMAGES, Grown, grow_table, part_images
from fusc_pipeline.store.store import Recipe, Store

RECIPE = Recipe("1")


def grow(store, wanted, done, stop_after=None, recipe=RECIPE, afresh=False):
    """Publish rows for `wanted`, recording in `done` what was computed; optionally die after some images."""

    def compute(todo):
        for number, identity in enumerate(todo):
            if number == stop_after:
                raise RuntimeError("killed")
            done.append(identity)
            yield identity, [{"image_id": identity, "reason": "no_text"}]

    with store.write("pseudo_labels", "b", recipe, {"n": str(len(wanted))}, incremental=True) as draft:
        return grow_table(store, draft, "pseudo_labels", "b", recipe.key, PSEUDO_LABELS, wanted, compute, afresh=afresh)


def rows(store):
    return store.table("pseudo_labels", "b").column("image_id").to_pylist()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_grown_batch_computes_only_its_new_images(store):
    first, done = [f"i{n}" for n in range(5)], []
    assert grow(store, first, done) == Grown(5, 0, 0)
    done.clear()
    assert grow(store, [*first, "new"], done) == Grown(1, 5, 0)
    assert done == ["new"] and rows(store) == [*first, "new"]


def test_forced_everything_is_computed_again(store):
    grow(store, ["a", "b"], [])
    done = []
    assert grow(store, ["a", "b"], done, afresh=True) == Grown(2, 0, 0)
    assert done == ["a", "b"]


def test_an_image_no_longer_delivered_is_dropped(store):
    grow(store, ["a", "b", "c"], [])
    assert grow(store, ["a", "c"], []) == Grown(0, 2, 0)
    assert rows(store) == ["a", "c"]


def test_another_recipe_computes_everything_again(store):
    grow(store, ["a", "b"], [])
    done = []
    assert grow(store, ["a", "b"], done, recipe=Recipe("2")) == Grown(2, 0, 0)
    assert done == ["a", "b"]


@pytest.mark.parametrize("images", [1, 39, 100, 640, 20_000])
def test_a_part_is_a_small_share_of_the_batch_and_never_a_large_file(images):
    assert 1 <= part_images(images) <= max(1, min(images / 40, MOST_PART_IMAGES))


def test_a_killed_run_repeats_less_than_one_part(store):
    wanted, done = [f"i{n:03d}" for n in range(130)], []
    size = part_images(len(wanted))
    killed_at = 30 * size + 2
    with pytest.raises(RuntimeError):
        grow(store, wanted, done, stop_after=killed_at)
    assert store.record("pseudo_labels", "b") is None
    again = []
    grow(store, wanted, again)
    assert again == wanted[30 * size :]
    assert rows(store) == wanted


def grow_of(store, batch, wanted, done, basis=None, facts=None):
    """As `grow`, for any batch, with a basis and facts."""

    def compute(todo):
        for identity in todo:
            done.append(identity)
            yield identity, [{"image_id": identity, "reason": "no_text", "alias": batch}]

    inputs = {"n": str(wanted)}
    with store.write("pseudo_labels", batch, RECIPE, inputs, incremental=True) as draft:
        return grow_table(
            store,
            draft,
            "pseudo_labels",
            batch,
            RECIPE.key,
            PSEUDO_LABELS,
            wanted,
            compute,
            basis=basis and {i: basis for i in wanted},
            facts=facts and {i: facts for i in wanted},
        )


def test_an_image_of_another_batch_is_taken_from_there(store):
    grow_of(store, "a", ["i1", "i2"], [])
    done = []
    assert grow_of(store, "b", ["i2", "i3"], done, facts={"alias": "b"}) == Grown(1, 0, 1)
    assert done == ["i3"]
    assert store.table("pseudo_labels", "b", ["image_id", "alias"]).to_pylist() == [
        {"image_id": "i2", "alias": "b"},
        {"image_id": "i3", "alias": "b"},
    ]


def test_another_basis_or_a_damaged_version_gives_nothing(store):
    grow_of(store, "a", ["i1", "i2"], [])
    assert grow_of(store, "b", ["i1", "i2"], [], basis="dicom 1 2 3 4") == Grown(2, 0, 0)
    assert grow_of(store, "b", ["i1", "i2", "i3"], [], basis="dicom 1 2 3 4") == Grown(1, 2, 0)
    (store.folder("pseudo_labels", "a") / "table.parquet").write_bytes(b"damaged")
    assert grow_of(store, "c", ["i1", "i2"], []) == Grown(2, 0, 0)


def test_a_grown_table_is_byte_for_byte_that_of_one_made_at_once(store, tmp_path):
    wanted = [f"i{n:03d}" for n in range(200)]
    at_once = Store(tmp_path / "other")
    grow_of(at_once, "z", wanted, [], facts={"alias": "z"})
    grow_of(store, "a", wanted[50:90][::-1], [])
    grow_of(store, "z", wanted[1::2], [], facts={"alias": "z"})
    grown = grow_of(store, "z", wanted, [], facts={"alias": "z"})
    assert grown == Grown(80, 100, 20)
    assert store.require("pseudo_labels", "z").files == at_once.require("pseudo_labels", "z").files


def test_a_part_that_a_power_loss_cut_short_is_computed_again_and_its_number_is_not_used_twice(store, caplog):
    wanted, done = [f"i{n}" for n in range(6)], []
    with pytest.raises(RuntimeError):
        grow(store, wanted, done, stop_after=4)
    parts = sorted(store.root.glob("work/pseudo_labels/b/*/part-*.parquet"))
    assert [part.name for part in parts] == [f"part-{number:06d}.parquet" for number in range(4)]
    parts[1].write_bytes(parts[1].read_bytes()[:40])
    done.clear()
    assert grow(store, wanted, done) == Grown(3, 0, 3) or done == ["i1", "i4", "i5"]
    assert done == ["i1", "i4", "i5"] and rows(store) == wanted
    assert "part-000001.parquet is damaged" in caplog.text
