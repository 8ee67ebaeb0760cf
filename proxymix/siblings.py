"""The packages beside this one are found where this one lies, also where a user's regression.py comes before them.

Python looks in the folder of a script or notebook first, and our packages have plain names there. Only these four names
are affected, and nothing else moves on the path.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from proxymix.errors import InputError

SIBLINGS = ("data_preparation", "mixture_config", "proxy_training", "regression")
ROOT = Path(__file__).resolve().parent.parent


class SiblingFinder:
    """Finds the siblings in the folder that this package lies in, before anything on `sys.path`."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Where a sibling is; None for every other module, which is found as ever."""
        return PathFinder.find_spec(name, [str(ROOT)]) if name in SIBLINGS else None


def find_siblings_first() -> None:
    """From now on, an import of a sibling finds ours."""
    if not any(getattr(finder, "__name__", "") == SiblingFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, SiblingFinder)


def check_siblings() -> None:
    """Check that no module of another origin has taken a sibling's name before this package was imported.

    Raises:
        InputError: If one has.
    """
    for name in SIBLINGS:
        module = sys.modules.get(name)
        places = [*filter(None, [getattr(module, "__file__", None)]), *getattr(module, "__path__", [])]
        if module is not None and not any(Path(place).resolve().is_relative_to(ROOT / name) for place in places):
            where = places[0] if places else f"a module named {name}"
            raise InputError(
                f"{where} was imported as {name} and hides proxymix's package of that name; rename it, and start Python "
                "(or the notebook's kernel) again"
            )


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in another process. That process imports this module first, and then finds the siblings."""
    return function(*arguments)
