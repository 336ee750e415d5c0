"""Per-image work is done once: a grown batch computes what is new, a killed run continues after its last part."""

import pytest

from fusc_pipeline.defs.incremental import MOST_PART_IMAGES, Grown, grow_table, part_images
from fusc_pipeline.resources.store import Recipe, Store
from fusc_pipeline.schemas import PSEUDO_LABELS

RECIPE = Recipe("1")


def grow(store, wanted, done, stop_after=None, recipe=RECIPE):
    """Publish rows for `wanted`, recording in `done` what was computed; optionally die after some images."""

    def compute(todo):
        for number, identity in enumerate(todo):
            if number == stop_after:
                raise RuntimeError("killed")
            done.append(identity)
            yield identity, [{"image_id": identity, "reason": "no_text"}]

    with store.write("pseudo_labels", "b", recipe, {"n": str(len(wanted))}, incremental=True) as draft:
        return grow_table(store, draft, "pseudo_labels", "b", recipe.key, PSEUDO_LABELS, wanted, compute)


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
