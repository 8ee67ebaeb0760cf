"""Many draws -> the few that cover the space of mixtures best, and which draws are far enough from others to teach anything.

The choice goes by Hellinger's distance, which compares sqrt(w) with sqrt(v). By this distance a weight of 0 and one of .01
are as far apart as .2 and .3, and losses do fall most with the first percents of a domain.
"""

import numpy as np

from mixture_config.geometry.tolerances import DISTINCT


def space_filling(candidates: np.ndarray, num: int, present: np.ndarray | None = None) -> np.ndarray:
    """Choose `num` candidates, each of them the farthest from all before it (greedy maximin; Kennard and Stone 1969).

    Args:
        candidates: Weights, shape (num_candidates, num_domains).
        num: How many, at most as many as there are candidates.
        present: Mixtures to keep away from, shape (any, num_domains). If there are none, the first choice is the candidate
            nearest to the mean of all.

    Returns:
        Positions of the chosen candidates, in the order of their choice, shape (num,).
    """
    roots = np.sqrt(candidates).astype(np.float32)
    distance = np.full(len(roots), np.inf, dtype=np.float32)
    for other in np.sqrt(present).astype(np.float32) if present is not None else ():
        np.minimum(distance, 1 - roots @ other, out=distance)  # half of the squared Hellinger distance
    chosen: list[int] = []
    while len(chosen) < num:
        if not chosen and np.isinf(distance[0]):
            position = int(np.argmax(roots @ roots.mean(axis=0)))
        else:
            position = int(np.argmax(distance))
        chosen.append(position)
        np.minimum(distance, 1 - roots @ roots[position], out=distance)
        distance[position] = -1  # not chosen again, even if all others are equal to a choice
    return np.array(chosen, dtype=int)


def distant(candidates: np.ndarray, present: np.ndarray, least: float = DISTINCT) -> np.ndarray:
    """Which candidates are at least `least` away from every mixture that is present, shape (num_candidates,).

    Args:
        candidates: Weights, shape (num_candidates, num_domains).
        present: Weights, shape (any, num_domains).
        least: The distance, in total variation.
    """
    kept = np.ones(len(candidates), dtype=bool)
    roots = np.sqrt(present).astype(np.float32)
    size = max((1 << 22) // max(len(present), 1), 1)
    for start in range(0, len(candidates), size):
        block = candidates[start : start + size]
        overlap = np.sqrt(block).astype(np.float32) @ roots.T
        # Total variation is at least 1 - overlap, so only pairs that overlap by more than 1 - least can be too near.
        for row, other in np.argwhere(overlap > 1 - least - 1e-5):
            if np.abs(block[row] - present[other]).sum() / 2 < least:
                kept[start + row] = False
    return kept
