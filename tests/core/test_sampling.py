from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from core.sampling import spread_evenly


@given(st.integers(0, 2000), st.integers(1, 600))
def test_so_many_at_most_and_all_as_far_apart(count: int, most: int) -> None:
    numbers = spread_evenly(count, most)
    assert len(numbers) == min(count, most)
    assert not count or numbers[0] == 0
    gaps = [later - earlier for earlier, later in pairwise([*numbers, count])]
    assert all(gap > 0 for gap in gaps)
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
