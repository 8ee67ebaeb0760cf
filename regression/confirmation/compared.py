"""The mixtures that a confirmation compares, by name: the proposal, and the baselines that it must beat."""

PROPOSAL = "proposal"
BASELINE_PHRASES = {
    "prior": "the prior",
    "heuristic": "the heuristic",
    "uniform": "the uniform mixture",
    "best_seen": "the best mixture of the sweep",
}
"""The baselines in the order in which they are shown, as a sentence names them."""
