"""An objective becomes weights over loss columns, and a name that is no target meets its neighbour."""

import numpy as np
import pytest

from proxymix.errors import InputError
from regression.objective import describe_objective, objective_weights, resolved_objective

TARGETS = ["metric/code_val_loss", "metric/law_val_loss", "lambada"]


@pytest.mark.parametrize(
    ("objective", "weights", "words"),
    [
        ("mean", [1 / 3, 1 / 3, 1 / 3], "mean of 3 targets"),
        ("law", [0, 1, 0], "law"),
        ("metric/law_val_loss", [0, 1, 0], "law"),
        ({"code": 3, "lambada": 1}, [0.75, 0, 0.25], "weighted mean: 0.75 code, 0.25 lambada"),
        ({"code": 2, "law": 2}, [0.5, 0.5, 0], "mean of code, law"),
    ],
)
def test_an_objective_is_weights_over_targets_that_sum_to_one(objective, weights, words):
    np.testing.assert_allclose(objective_weights(objective, TARGETS), weights)
    assert describe_objective(objective, TARGETS) == words


def test_a_file_of_weights_is_an_objective(tmp_path):
    path = tmp_path / "objective.yaml"
    path.write_text("law: 1\nmetric/code_val_loss: 4\n")
    np.testing.assert_allclose(objective_weights(str(path), TARGETS), [0.8, 0.2, 0])
    assert resolved_objective(str(path), TARGETS) == {"metric/code_val_loss": 0.8, "metric/law_val_loss": 0.2}


def test_a_resolved_objective_has_the_same_weights():
    for objective in ("mean", "law", {"code": 3, "lambada": 1}):
        again = resolved_objective(objective, TARGETS)
        np.testing.assert_allclose(objective_weights(again, TARGETS), objective_weights(objective, TARGETS))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("lw", "no target 'lw'; nearest: law"),
        ({"law": 0}, "the weight of law is 0"),
        ({"law": -1.0}, "the weight of law is -1"),
        ({"law": float("nan")}, "the weight of law is nan"),
        ({"law": "much"}, "the weight of law is 'much'"),
        ({"law": 1, "metric/law_val_loss": 1}, "named twice"),
        ({}, "no targets"),
        ("absent.yaml", "absent.yaml: no such file"),
    ],
)
def test_a_wrong_objective_says_what_is_wrong(objective, message):
    with pytest.raises(InputError, match=message):
        objective_weights(objective, TARGETS)
