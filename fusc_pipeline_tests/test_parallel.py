"""ordered_map: the order of the input, whatever the number of workers; an error reaches the caller."""

import pytest

from fusc_pipeline.parallel import ordered_map


def square(x: int) -> int:
    if x == 13:
        raise ValueError("thirteen")
    return x * x


@pytest.mark.parametrize("workers", [1, 2])
def test_order_is_kept(workers):
    assert list(ordered_map(square, range(12), workers, chunk=3)) == [x * x for x in range(12)]


def test_the_stream_is_read_lazily():
    taken = []

    def items():
        for x in range(100):
            taken.append(x)
            yield x

    assert next(iter(ordered_map(square, items(), 1))) == 0
    assert len(taken) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_reaches_the_caller(workers):
    with pytest.raises(ValueError, match="thirteen"):
        list(ordered_map(square, range(20), workers))
