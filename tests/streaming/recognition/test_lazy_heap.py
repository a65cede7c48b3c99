"""A heap whose entries may stop being true."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.recognition.lazy_heap import LazyHeap


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=300))
def test_the_first_is_the_smallest_that_is_true(steps: list[tuple[int, bool]]) -> None:
    true: set[tuple[int]] = set()
    heap: LazyHeap[tuple[int]] = LazyHeap(lambda entry: entry in true)
    for number, add in steps:
        if add:
            true.add((number,))
            heap.push((number,))
        else:
            true.discard((number,))

        assert heap.first() == min(true, default=None)


def test_what_is_no_longer_true_is_not_kept_for_ever() -> None:
    newest = 0
    heap: LazyHeap[tuple[int]] = LazyHeap(lambda entry: entry == (newest,))
    for newest in range(10_000):
        heap.push((newest,))

    assert len(heap) < 200
    assert heap.first() == (9999,)
