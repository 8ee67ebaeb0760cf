"""A stranger's trees are checked before LightGBM sees them: no crash, no loop, the same predictions to the bit."""

import re

import numpy as np
import pytest

from proxymix.errors import InputError
from regression.models.trees import LightGBM, small_lightgbm


def fitted(make=small_lightgbm, num_runs=60):
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(4), num_runs)
    y = X @ [1.0, 2.0, 3.0, 4.0] + 0.01 * rng.normal(size=num_runs)
    return make().fit(X, y), X, y


@pytest.mark.parametrize(("make", "num_runs"), [(small_lightgbm, 60), (LightGBM, 200), (LightGBM, 30)])
def test_trees_that_were_saved_predict_the_same_bits(make, num_runs):
    model, X, y = fitted(make, num_runs)
    new = np.random.default_rng(1).dirichlet(np.ones(4), 500)
    again = make().loads(model.dumps(), X, y)
    np.testing.assert_array_equal(again.predict(new), model.predict(new))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\nleft_child=\d+", "\nleft_child=0"),  # its own child
        (r"\nleft_child=\S+ \S+", "\nleft_child=2 1"),  # a loop
        (r"\nleft_child=\S+", "\nleft_child=77"),
        (r"\nleft_child=\S+", "\nleft_child=-77"),
        (r"\nleft_child=(\S+) ", r"\nleft_child="),
        (r"\nright_child=(\S+) (\S+)", r"\nright_child=\2 \2"),
        (r"\nsplit_feature=\d", "\nsplit_feature=4"),
        (r"\nsplit_feature=\d", "\nsplit_feature=-1"),
        (r"\nthreshold=\S+", "\nthreshold=nan"),
        (r"\nthreshold=\S+", "\nthreshold=1e999"),
        (r"\nleaf_value=\S+", "\nleaf_value=inf"),
        (r"\ndecision_type=\d", "\ndecision_type=1"),
        (r"\nnum_cat=0", "\nnum_cat=1"),
        (r"\nnum_leaves=\d+", "\nnum_leaves=2000000000"),
        (r"\nnum_leaves=\d+", "\nnum_leaves=1"),
        (r"\nis_linear=0", "\nis_linear=1"),
        (r"\nnum_class=1", "\nnum_class=1000000"),
        (r"\nmax_feature_idx=3", "\nmax_feature_idx=9999"),
        (r"\nshrinkage=1", "\nshrinkage="),
        (r"(?s)\nend of trees.*", ""),
        (r"(?s).*", ""),
    ],
)
def test_a_text_that_would_crash_or_hang_is_refused(pattern, text):
    model, X, y = fitted()
    changed = re.sub(pattern, text, model.dumps(), count=1)
    assert changed != model.dumps()
    with pytest.raises(InputError):
        small_lightgbm().loads(changed, X, y)


def test_sizes_of_trees_in_the_text_are_not_trusted():
    model, X, y = fitted()
    changed = re.sub(r"\ntree_sizes=\d+", "\ntree_sizes=7", model.dumps())
    np.testing.assert_array_equal(small_lightgbm().loads(changed, X, y).predict(X), model.predict(X))


def test_random_edits_are_refused_or_predict_finite_losses():
    model, X, y = fitted()
    text, rng = model.dumps(), np.random.default_rng(0)
    trees = text.index("Tree=0"), text.index("end of trees")
    for _ in range(150):
        at = int(rng.integers(*trees) if rng.uniform() < 0.8 else rng.integers(len(text)))
        edits = (text[:at], text[:at] + text[at + 1 :], text[:at] + chr(rng.integers(32, 127)) + text[at + 1 :])
        try:
            changed = small_lightgbm().loads(edits[rng.integers(3)], X, y)
        except InputError:
            continue
        assert np.isfinite(changed.predict(X)).all()
