"""A few out of many."""


def spread_evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers below `count`, evenly spread, in order; 0 is among them."""
    return sorted({number * count // most for number in range(most)}) if count else []
