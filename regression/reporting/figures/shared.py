"""Tables in the order of the report's domains."""

from typing import TYPE_CHECKING

import numpy as np

from regression.reporting.study_results import StudyResults

if TYPE_CHECKING:
    import pandas as pd


def by_domain(table: "pd.DataFrame", study: StudyResults) -> "pd.DataFrame":
    """A table with a row per domain, in the order of the report."""
    return table.set_index("domain").loc[study.domains].reset_index()


def pairs_table(values: np.ndarray, targets: list[str], domains: list[str], name: str) -> "pd.DataFrame":
    """Values of shape (num_targets, num_domains) -> rows of (target, domain, value)."""
    import pandas as pd

    pairs = pd.MultiIndex.from_product([targets, domains], names=["target", "domain"])
    return pd.DataFrame({name: values.ravel()}, pairs).reset_index()
