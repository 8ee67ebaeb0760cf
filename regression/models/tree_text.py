"""LightGBM's text of a model -> the same trees in a text that is safe to load.

LightGBM trusts its text: an index out of range ends the process, and a child that is its own ancestor never ends. The trees
are therefore checked, and written anew with nothing else of the text. Predictions stay the same to the bit.
"""

import re

import numpy as np

from proxymix.errors import InputError

MAX_LEAVES, MAX_TREES = 100_000, 100_000
WHOLE = re.compile(r"-?\d{1,9}")
NUMBER = re.compile(r"[-+]?\d{1,400}(\.\d{0,400})?([eE][-+]?\d{1,3})?")
DECISIONS = {"0", "2", "4", "6", "8", "10"}
"""Comparisons of numbers, by what becomes of a missing one; the others are of categories."""
NODES, LEAVES = ("split_feature", "threshold", "decision_type", "left_child", "right_child"), ("leaf_value",)


def checked_trees(text: str, num_features: int) -> str:
    """The trees of a model, written anew.

    Raises:
        InputError: If it is not the text of a sum of trees of numbers, with every node below one other.
    """
    head, *parts = text.split("\n\nend of trees", 1)[0].split("\nTree=")
    lines = head.strip().split("\n")
    header = _values(lines[1:], "header")
    for key, value in (
        ("version", "v4"),
        ("num_class", "1"),
        ("num_tree_per_iteration", "1"),
        ("objective", "regression"),
    ):
        if header.get(key) != value:
            raise InputError(f"{key} of the trees is {header.get(key)!r:.40} where {value} is wanted")
    if lines[0] != "tree" or "\n\nend of trees" not in text or not 0 < len(parts) <= MAX_TREES:
        raise InputError("not LightGBM's text of trees, or not all of it")
    if header.get("max_feature_idx") != str(num_features - 1):
        raise InputError(
            f"the trees have {header.get('max_feature_idx')!r:.20} as their last feature of {num_features}"
        )
    trees = [_tree(part.strip().split("\n"), i, num_features) for i, part in enumerate(parts)]
    names = " ".join(f"Column_{i}" for i in range(num_features))
    infos = " ".join(["none"] * num_features)
    sizes = " ".join(str(len(tree)) for tree in trees)
    head = (
        f"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx={num_features - 1}\n"
    )
    head += f"objective=regression\nfeature_names={names}\nfeature_infos={infos}\ntree_sizes={sizes}\n\n"
    return head + "".join(trees) + "end of trees\n"


def _values(lines: list[str], where: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for line in lines:
        key, sign, value = line.partition("=")
        if line and (not sign or key in values):
            raise InputError(f"{where}: {line!r:.60} is no line of a tree, or is there twice")
        values[key] = value
    return values


def _tree(lines: list[str], position: int, num_features: int) -> str:
    """One tree, checked and written anew."""
    where = f"tree {position}"
    values = _values(lines[1:], where)
    if lines[0] != str(position) or values.get("num_cat") != "0" or values.get("is_linear", "0") != "0":
        raise InputError(f"{where}: not a tree of numbers in its place")
    count = values.get("num_leaves", "")
    if not WHOLE.fullmatch(count) or not 1 <= int(count) <= MAX_LEAVES:
        raise InputError(f"{where}: num_leaves is {count!r:.20}")
    num_leaves = int(count)
    cells = {key: values.get(key, "").split(" ") if values.get(key) else [] for key in (*NODES, *LEAVES)}
    for key, found in cells.items():
        wanted = num_leaves if key in LEAVES else num_leaves - 1
        pattern = NUMBER if key in ("threshold", "leaf_value") else WHOLE
        if len(found) != wanted or not all(map(pattern.fullmatch, found)):
            raise InputError(f"{where}: {key} has {len(found)} values where {wanted} numbers are wanted, or other text")
    shrinkage = values.get("shrinkage", "")
    numbers = np.array(
        [*cells["threshold"], *cells["leaf_value"], shrinkage if NUMBER.fullmatch(shrinkage) else "nan"], float
    )
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: a threshold, a value of a leaf or the shrinkage is not a finite number")
    if not DECISIONS.issuperset(cells["decision_type"]):
        raise InputError(f"{where}: a decision_type that compares no numbers")
    features = np.array(cells["split_feature"], int)
    if ((features < 0) | (features >= num_features)).any():
        raise InputError(f"{where}: a split_feature that is none of {num_features}")
    _check_children(np.array([cells["left_child"], cells["right_child"]], int), num_leaves, where)
    rows = [f"{key}={' '.join(found)}" for key, found in cells.items()]
    body = [f"Tree={position}", f"num_leaves={num_leaves}", "num_cat=0", *rows, "is_linear=0", f"shrinkage={shrinkage}"]
    return "\n".join(body) + "\n\n\n"


def _check_children(children: np.ndarray, num_leaves: int, where: str) -> None:
    """Check that every node but the first is below one node before it, and every leaf (-1, -2, ...) below one.

    Args:
        children: Left and right children, shape (2, num_leaves - 1).

    Raises:
        InputError: If not, since a prediction might then never end.
    """
    if num_leaves == 1:
        return
    wanted = np.arange(-num_leaves, num_leaves - 1)
    wanted = wanted[wanted != 0]
    inner = (children > 0) & (children <= np.arange(num_leaves - 1))
    if inner.any() or not np.array_equal(np.sort(children, axis=None), wanted):
        raise InputError(f"{where}: left_child and right_child are no tree of {num_leaves} leaves")
