"""Bounds that hold at least one mixture, for property-based tests."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def bounded(draw, max_domains=8):
    """Lower and upper bounds that hold at least one mixture, some of them tightly."""
    num_domains = draw(st.integers(1, max_domains))
    inside = np.array(draw(st.lists(st.floats(0.01, 1), min_size=num_domains, max_size=num_domains)))
    inside /= inside.sum()
    slack = st.sampled_from([0.0, 1e-13, 0.01, 0.3, 1.0])
    below, above = (np.array(draw(st.lists(slack, min_size=num_domains, max_size=num_domains))) for _ in range(2))
    return np.maximum(inside - below, 0.0), np.minimum(inside + above, 1.0)


def inside(lower, upper):
    """A mixture within the bounds, about in the middle of them: the nearest to their mean, found by halving an interval."""
    middle = (lower + upper) / 2
    shift, step = 0.0, 1.0
    for _ in range(60):
        shift += step if np.clip(middle - shift, lower, upper).sum() > 1 else -step
        step /= 2
    return np.clip(middle - shift, lower, upper)
