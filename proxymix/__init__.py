"""Finds the data mixture of a language-model pre-training run.

    import proxymix

    fit = proxymix.fit("mixtures.csv", "losses.csv")      # a path or a pandas DataFrame
    found = proxymix.propose(fit, domains={"web": 600e9, "code": 150e9}, budget=400e9)
    found.weights                                         # in a notebook, `found` alone shows tables

Functions return what they found, and write files only where `out` says so. What is heavy is imported where it is used.
"""

from typing import TYPE_CHECKING, Any

from proxymix.errors import InputError, StageError
from proxymix.siblings import find_siblings_first

if TYPE_CHECKING:
    from proxymix.app.api import baseline, export, figures, fit, predict, propose, run, study, synthesize

__version__ = "0.1.0"
__all__ = [
    "InputError",
    "StageError",
    "baseline",
    "export",
    "figures",
    "fit",
    "predict",
    "propose",
    "run",
    "study",
    "synthesize",
]

find_siblings_first()


def __getattr__(name: str) -> Any:
    """The functions of the API, which are imported when the first of them is asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'proxymix' has no attribute {name!r}; it offers {', '.join(__all__)}")
    from proxymix.app import api

    globals().update({key: getattr(api, key) for key in __all__ if hasattr(api, key)})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
