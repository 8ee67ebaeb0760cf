"""Many draws -> the few that cover the mixtures best, and those that are too near to others to teach anything.

Distances are Hellinger's, sqrt(w) against sqrt(v): a weight of 0 and one of .01 are as far apart as .2 and .3, since
losses fall most with a domain's first percents.
"""

from collections.abc import Callable

import numpy as np

NEAR = 0.02  # total variation: mixtures nearer than this have 98% of their tokens in common


def space_filling(
    candidates: np.ndarray,
    num: int,
    present: np.ndarray | None = None,
    on_chosen: Callable[[int], object] = lambda count: None,
) -> np.ndarray:
    """Positions of `num` candidates, each the farthest from all before it (greedy maximin; Kennard and Stone 1969).

    Args:
        candidates: Weights, shape (num_candidates, num_domains).
        num: How many, at most as many as there are candidates.
        present: Mixtures that are there already, to keep away from, shape (any, num_domains); the first is the
            candidate nearest to the candidates' mean if there are none.
        on_chosen: Called with 1 after each choice.
    """
    roots = np.sqrt(candidates).astype(np.float32)
    distance = np.full(len(roots), np.inf, dtype=np.float32)
    for other in np.sqrt(present).astype(np.float32) if present is not None else ():
        np.minimum(distance, 1 - roots @ other, out=distance)  # half of the squared distance
    chosen: list[int] = []
    while len(chosen) < num:
        if not chosen and np.isinf(distance[0]):
            position = int(np.argmax(roots @ roots.mean(axis=0)))
        else:
            position = int(np.argmax(distance))
        chosen.append(position)
        np.minimum(distance, 1 - roots @ roots[position], out=distance)
        distance[position] = -1
        on_chosen(1)
    return np.array(chosen, dtype=int)


def distant(candidates: np.ndarray, present: np.ndarray, least: float = NEAR) -> np.ndarray:
    """Which candidates are at least `least` (total variation) away from every mixture that is there.

    Args:
        candidates: Weights, shape (num_candidates, num_domains).
        present: Weights, shape (any, num_domains).
        least: Total variation, half of the sum of absolute differences: the part of the tokens that differ.
    """
    kept = np.ones(len(candidates), dtype=bool)
    roots = np.sqrt(present).astype(np.float32)
    size = max((1 << 22) // max(len(present), 1), 1)
    for start in range(0, len(candidates), size):
        block = candidates[start : start + size]
        overlap = np.sqrt(block).astype(np.float32) @ roots.T
        # Total variation is at least 1 - overlap, so only pairs that overlap more than 1 - least need a closer look.
        for row, other in np.argwhere(overlap > 1 - least - 1e-5):
            if np.abs(block[row] - present[other]).sum() / 2 < least:
                kept[start + row] = False
    return kept
