"""What several figures share: tables in the order of the domains, with their unit."""

from typing import TYPE_CHECKING, Any

import numpy as np

from regression.reporting.study_results import StudyResults

if TYPE_CHECKING:
    import pandas as pd


def largest_row(table: "pd.DataFrame", size: "pd.Series[Any]") -> dict[Any, Any]:
    """The row whose size is the largest."""
    return table.to_dict("records")[int(np.nanargmax(size.to_numpy(dtype=float)))]


def by_domain(table: "pd.DataFrame", study: StudyResults) -> "pd.DataFrame":
    """A table with a row per domain, in the order of the report."""
    return table.set_index("domain").loc[study.domains].reset_index()


def pairs_table(values: np.ndarray, targets: list[str], domains: list[str], name: str) -> "pd.DataFrame":
    """Values of shape (num_targets, num_domains) -> rows of (target, domain, value)."""
    import pandas as pd

    pairs = [(target, domain) for target in targets for domain in domains]
    return pd.DataFrame(pairs, columns=["target", "domain"]).assign(**{name: values.ravel()})


def in_objective_unit(table: "pd.DataFrame", study: StudyResults) -> "pd.DataFrame":
    """The table, marked as holding values of the objective."""
    table.attrs["unit"] = study.objective.unit
    return table
