"""YAML text -> values: names as they are written, and no more than a file of settings may ask for.

Keys are names, so the key `no` (Norwegian), `2024` or `1.10` is that text and not what YAML makes of it.
"""

import re
from typing import Any

import yaml

from proxymix.errors import InputError

MAX_DEPTH = 100
"""Lists and mappings within each other. The library recurses, and dies of some thousands."""
MAX_COPIES = 100_000
"""Values that aliases (*name) may add up to, each counted wherever it stands."""
NAME_KEYS = ("minimise", "maximise")
"""Keys whose value is a name or a list of names, in whatever mapping they stand."""

TAG = "tag:yaml.org,2002:"
STR, NULL, MERGE = f"{TAG}str", f"{TAG}null", f"{TAG}merge"


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # in C, six times as fast
    """YAML's safe loader that reads 2e-4 as a number."""


_Loader.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(  # YAML 1.1 takes 2e-4 for text, YAML 1.2 and every user for a number
    f"{TAG}float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, where: str, as_written: bool = False) -> Any:
    """The value of a YAML text; `as_written`, with every word that is no list or mapping as text. `where` names it in messages.

    Raises:
        InputError: If it is not YAML (with the line), a key is written twice or is no word, a value cannot be read, lists
            and mappings are too deep, or aliases multiply.
    """
    loader = _Loader(text)
    try:
        _check_depth(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _Names(loader, as_written).settle(node)
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{where}{line}: not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(f"{where}: not YAML that can be read: {error}") from None
    finally:
        loader.dispose()


def check_measure(text: str, where: str) -> None:
    """Check that a text, which may not be YAML at all, is none that a reader of YAML dies of.

    Raises:
        InputError: If lists and mappings are too deep, or aliases multiply.
    """
    try:
        parse_yaml(text, where)
    except InputError as error:
        if isinstance(error.__context__, _BeyondMeasure):
            raise


def _check_depth(text: str) -> None:
    """Raise a YAML error at the place where lists and mappings are nested too deep."""
    indents = (len(line) - len(line.lstrip(" \t-?:")) for line in text.split("\n"))
    if text.count("[") + text.count("{") + max(indents, default=0) < MAX_DEPTH:
        return  # no text of so few brackets and spaces can be that deep
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            problem = f"more than {MAX_DEPTH} lists and mappings within each other"
            raise _BeyondMeasure(problem=problem, problem_mark=event.start_mark)


class _BeyondMeasure(yaml.MarkedYAMLError):
    """Lists and mappings too deep, or aliases that multiply."""


def _error(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


class _Names:
    """Makes keys text before values are made, and finds what the library would not, or not say where."""

    def __init__(self, loader: Any, as_written: bool) -> None:
        self._loader, self._as_written = loader, as_written
        self._sizes: dict[int, int] = {}  # of each list and mapping: the values in it, those of aliases included
        self._within: set[int] = set()
        self._copies = 0

    def settle(self, node: Any) -> int:
        """Settle a node and all below it. Returns how many values it stands for."""
        if isinstance(node, yaml.ScalarNode):
            self._settle_word(node)
            return 1
        if id(node) in self._within:
            raise _error("an alias (*name) stands within what it is an alias of", node)
        if id(node) in self._sizes:
            self._copies += self._sizes[id(node)]
            if self._copies > MAX_COPIES:
                problem = "aliases (*name) that repeat each other without measure"
                raise _BeyondMeasure(problem=problem, problem_mark=node.start_mark)
            return self._sizes[id(node)]
        self._within.add(id(node))
        if isinstance(node, yaml.MappingNode):
            self._settle_keys(node)
            children = [value for _, value in node.value]
        else:
            children = node.value
        size = 1 + sum(map(self.settle, children))
        self._within.remove(id(node))
        self._sizes[id(node)] = size
        return size

    def _settle_keys(self, node: Any) -> None:
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a list or mapping stands where a key is wanted; put a key in quotes", key)
            if key.value in seen:
                raise _error(f"the key {key.value!r} is written twice", key)
            seen.add(key.value)
            if key.tag == MERGE:
                continue
            key.tag = STR
            if key.value in NAME_KEYS:
                for word in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if isinstance(word, yaml.ScalarNode) and word.tag != NULL:
                        word.tag = STR

    def _settle_word(self, node: Any) -> None:
        if self._as_written and (node.tag != NULL or node.value):
            node.tag = STR
        if node.tag == STR:
            return
        try:
            value = self._loader.construct_object(node)
            if isinstance(value, int):
                float(value)  # One of hundreds of digits is no number to calculate with.
        except (ValueError, TypeError, OverflowError, AttributeError, KeyError) as error:
            raise _error(f"{node.value[:40]!r} cannot be read ({str(error)[:80]})", node) from None
