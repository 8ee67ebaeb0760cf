"""When two numbers, two weights or two mixtures count as the same. Each tolerance has its unit and its reason.

The total variation of two mixtures is half the sum of the absolute differences of their weights: the share of the tokens
that would have to come from another domain.
"""

# ---- Rounding of doubles

WEIGHT_ROUNDOFF = 1e-12
"""In weight: a bound, or a sum of bounds, that is passed by less is kept."""

STEP_ROUNDOFF = 1e-9
"""In steps of a grid: a bound this close to a grid point lies on it."""

SUM_ROUNDOFF = 1e-9
"""In weight: weights whose sum is this close to 1 were written at full precision, and are not rescaled."""

SAME_WEIGHT = 1e-9
"""In weight: two mixtures whose weights differ by less are one mixture, written twice."""

FEASIBLE = 1e-9
"""In weight: how far an allowed mixture may miss a bound, the distance to the prior, or a sum of 1."""

# ---- Rounding in files

FILE_ROUNDING = 1e-6
"""In weight: how far a weight in a file may be off because somebody printed it with six decimals."""

SUM_TOLERANCE = 1e-2
"""In weight: how far the sum of a file's weights may be from 1. Published weights have 3 decimals; a row of RegMix's sums to 0.996."""

GRID_STEP = 2e-4
"""In weight: the grid of a sweep unless its settings say otherwise, and the smallest weight that it holds."""

# ---- Mixtures that are alike

SAME_PROPOSAL = 1e-4
"""In total variation: a mixture within it is the proposal, and not another mixture that does as well."""

SAME_OPTIMUM = 1e-3
"""In total variation: two searches that end within it have found one optimum."""

SAME_PUBLISHED = 0.01
"""In total variation: rows within it are one mixture, which two files rounded to 3 decimals each."""

DISTINCT = 0.02
"""In total variation: a further mixture is at least this far from all that were trained, or it teaches little."""
