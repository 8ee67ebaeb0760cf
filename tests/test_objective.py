"""What a user writes becomes one number of the losses, its slopes and its ceilings; a name that is no target meets its neighbour."""

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from regression.data.objective import Objective, resolved_objective

TARGETS = ["metric/code_val_loss", "metric/law_val_loss", "lambada"]
LOSSES = np.array([[1.0, 10.0, 4.0], [3.0, 10.5, 8.0]])  # means 2, 10.25, 6; standard deviations 1, 0.25, 2


def objective(spec):
    return Objective.of(spec, TARGETS, LOSSES)


@pytest.mark.parametrize(
    ("spec", "weights", "words"),
    [
        ("mean", [1 / 3, 1 / 3, 1 / 3], "mean of 3 targets"),
        ("law", [0, 1, 0], "law"),
        ("metric/law_val_loss", [0, 1, 0], "law"),
        ({"code": 3, "lambada": 1}, [0.75, 0, 0.25], "weighted mean: 0.75 code, 0.25 lambada"),
        ({"code": 2, "law": 2}, [0.5, 0.5, 0], "mean of code, law"),
        ("zscore", [2 / 11, 8 / 11, 1 / 11], "mean, each divided by its spread, of 3 targets"),
    ],
)
def test_an_objective_is_weights_over_targets_that_sum_to_one(spec, weights, words):
    found = objective(spec)
    np.testing.assert_allclose(found.weights, weights)
    np.testing.assert_allclose(found.value(LOSSES), LOSSES @ weights)
    np.testing.assert_allclose(found.slopes(LOSSES), [weights, weights])
    assert found.describe() == words
    assert list(found.used) == list(np.flatnonzero(weights))


def test_the_mean_of_z_scores_orders_runs_as_the_z_scores_do():
    losses = np.random.default_rng(0).normal(size=(50, 3)) * [1, 10, 0.1]
    by_hand = ((losses - losses.mean(axis=0)) / losses.std(axis=0)).mean(axis=1)
    value = Objective.of("zscore", TARGETS, losses).value(losses)
    np.testing.assert_allclose(np.ptp(value) * (by_hand - by_hand.min()), np.ptp(by_hand) * (value - value.min()))


def test_the_worst_case_is_the_largest_z_score():
    found = objective("worst")
    np.testing.assert_allclose(found.value([[2, 10.25, 6], [3, 10.25, 0], [2, 9.75, 7]]), [0, 1, 0.5])
    assert found.value([2.0, 11.25, 6.0]) == pytest.approx(4)
    assert found.worst and found.describe() == "worst z-score of 3 targets"
    np.testing.assert_allclose(found.slopes([[3, 10.25, 0], [2, 9.75, 7]]), [[1, 0, 0], [0, 0, 0.5]])


@given(
    st.sampled_from(["mean", "zscore", "worst", {"law": 2, "code": 1}]),
    arrays(float, (4, 3), elements=st.floats(-5, 5)),
    arrays(float, (3,), elements=st.floats(-1e-3, 1e-3)),
)
def test_slopes_say_what_a_small_change_of_the_losses_does(spec, losses, change):
    found = objective(spec)
    before, after, slopes = found.value(losses), found.value(losses + change), found.slopes(losses)
    expected = before + (slopes * change).sum(axis=-1)
    if found.worst:  # convex: the tangent lies below
        assert (after >= expected - 1e-9).all()
    else:
        np.testing.assert_allclose(after, expected, atol=1e-9)


def test_a_loss_that_carries_no_weight_may_be_unknown():
    assert objective({"code": 1, "law": 1}).value([1.0, 3.0, np.nan]) == 2
    assert (
        objective({"minimise": "law", "max_increase": {"code": 0.1}}).excess([1.0, 3.0, np.nan], [1.0, 1.0, np.nan]) < 0
    )


def test_one_ceiling_holds_for_every_target():
    found = objective({"minimise": "code", "max_increase": "1%"})
    assert list(found.weights) == [1, 0, 0] and list(found.capped) == list(found.used) == [0, 1, 2]
    assert found.describe() == "code, with no target more than 1% above the prior"
    reference = np.array([2.0, 10.0, 5.0])
    np.testing.assert_allclose(found.excess(reference, reference), [-0.02, -0.1, -0.05])
    np.testing.assert_allclose(found.excess([[1.0, 10.1, 6.0]], reference), [[-1.02, 0, 0.95]], atol=1e-12)


def test_ceilings_of_some_targets_leave_the_others_free():
    found = objective({"minimise": {"code": 1}, "max_increase": {"lambada": "0.5%", "law": 0.02}})
    assert list(found.capped) == [1, 2] and list(found.used) == [0, 1, 2]
    assert found.describe() == "code, with law at most 2%, lambada at most 0.5% above the prior"
    np.testing.assert_allclose(found.excess([9.0, 10.3, 4.0], [1.0, 10.0, 4.0]), [0.1, -0.02])


def test_a_ceiling_on_a_metric_below_zero_allows_a_rise_too():
    found = objective({"minimise": "mean", "max_increase": 0.01})
    assert (found.excess([-1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]) < 0).all()


def test_without_ceilings_nothing_is_capped():
    assert objective("mean").excess(LOSSES, LOSSES[0]).shape == (2, 0)
    assert len(objective("mean").capped) == 0


@pytest.mark.parametrize(
    ("content", "resolved"),
    [
        ("law: 1\nmetric/code_val_loss: 4\n", {"metric/code_val_loss": 0.8, "metric/law_val_loss": 0.2}),
        ("minimise: worst\n", "worst"),
        ("minimise: zscore\nmax_increase: 2%\n", {"minimise": "zscore", "max_increase": 0.02}),
        (
            "minimise: {code: 2}\nmax_increase: {lambada: 1%}\n",
            {"minimise": {"metric/code_val_loss": 1.0}, "max_increase": {"lambada": 0.01}},
        ),
    ],
)
def test_a_file_is_an_objective_and_the_resolved_one_needs_no_file(tmp_path, content, resolved):
    path = tmp_path / "objective.yaml"
    path.write_text(content)
    found = objective(str(path))
    path.unlink()
    assert found.spec == resolved
    write_yaml(tmp_path / "record.yaml", {"objective": found.spec})
    again = objective(read_yaml(tmp_path / "record.yaml")["objective"])
    assert again.spec == found.spec and again.worst == found.worst
    np.testing.assert_array_equal(again.weights, found.weights)
    np.testing.assert_array_equal(again.max_increase, found.max_increase)


@given(st.dictionaries(st.sampled_from(["code", "law", "lambada"]), st.floats(1e-6, 1e6), min_size=1))
def test_a_resolved_objective_resolves_to_itself(weights):
    found = objective({"minimise": weights, "max_increase": "1%"})
    again = objective(yaml.safe_load(yaml.safe_dump(found.spec)))
    assert again.spec == found.spec
    np.testing.assert_array_equal(again.weights, found.weights)


@pytest.mark.parametrize(
    ("spec", "unit"),
    [
        ("worst", "standard deviations of the sweep"),
        ("law", "nats/token"),
        ("mean", "unit of the targets"),
        ({"minimise": {"code": 1, "law": 2}, "max_increase": {"lambada": 0.1}}, "nats/token"),
    ],
)
def test_the_unit_is_that_of_what_is_weighted(spec, unit):
    assert objective(spec).unit == unit


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lw", "no target 'lw'; nearest: law"),
        ({"law": 0}, "the weight of law is 0"),
        ({"law": -1.0}, "the weight of law is -1"),
        ({"law": float("nan")}, "the weight of law is nan"),
        ({"law": "much"}, "the weight of law is 'much'"),
        ({"law": 1, "metric/law_val_loss": 1}, "named twice"),
        ({}, "no targets"),
        ("absent.yaml", "absent.yaml: no such file"),
        ({"max_increase": "1%"}, "minimise is missing.*such as minimise: mean"),
        ({"minimise": "mean", "ceiling": 0.1}, "no key 'ceiling' .* there are minimise, maximise and max_increase"),
        ({"minimise": "mean", "max_increase": 1}, "max_increase is 1; a share .* as 0.01 or 1%"),
        ({"minimise": "mean", "max_increase": "a bit"}, "max_increase is 'a bit'"),
        ({"minimise": "mean", "max_increase": {"law": -0.1}}, "max_increase of law is -0.1"),
        ({"minimise": "mean", "max_increase": {"law": True}}, "max_increase of law is True"),
        ({"minimise": "mean", "max_increase": {"lw": 0.1}}, "max_increase: no target 'lw'; nearest: law"),
        ({"minimise": "mean", "max_increase": {}}, "max_increase names no targets"),
        ({"minimise": {"minimise": "mean", "max_increase": 0.1}, "max_increase": 0.1}, "minimise has a max_increase"),
        ({"minimise": "mean", "max_increase": 0.1, "ceilings": 0.1}, "both ceilings and max_increase"),
        ({"minimise": 3}, "objective is 3; mean, zscore, worst, a target"),
    ],
)
def test_a_wrong_objective_says_what_is_wrong(spec, message):
    with pytest.raises(InputError, match=message):
        resolved_objective(spec, TARGETS)


def test_the_old_name_of_max_increase_is_read_with_a_note(tmp_path, capsys):
    path = tmp_path / "objective.yaml"
    path.write_text("minimise: code\nceilings: {law: 1%}\n")
    found = objective(str(path))
    assert found.spec == objective({"minimise": "code", "max_increase": {"law": 0.01}}).spec
    assert len(found.capped) == 1
    objective(str(path))
    assert capsys.readouterr().err.count(f"{path}: ceilings is called max_increase today") == 1


def test_z_scores_of_a_loss_that_never_varies_are_refused():
    constant = np.column_stack([LOSSES[:, :2], [7.1, 7.1]])
    for spec in ("zscore", "worst"):
        with pytest.raises(InputError, match=f"{spec} measures .* lambada is 7.1 in all of 2 runs; leave it out"):
            Objective.of(spec, TARGETS, constant)
    assert Objective.of("mean", TARGETS, constant).value(constant[0]) == pytest.approx(18.1 / 3)


SCORES = ["arc_acc", "squad/f1", "metric/code_val_loss"]
MEASURED = np.array([[0.2, 0.5, 3.0], [0.4, 0.9, 2.0]])  # the second run is better in everything


def scored(spec, targets=SCORES):
    return Objective.of(spec, targets, MEASURED[:, [SCORES.index(t) for t in targets]])


@pytest.mark.parametrize(
    "spec",
    [
        {"maximise": "arc_acc"},
        {"maximise": {"arc_acc": 1, "squad/f1": 3}},
        {"maximise": "arc_acc", "max_increase": {"code": 0.01}},
    ],
)
def test_what_is_maximised_is_low_where_scores_are_high(spec):
    found = scored(spec)
    values = found.value(MEASURED)
    assert values[1] < values[0]
    np.testing.assert_allclose(found.weights.sum(), -1)
    np.testing.assert_allclose(np.diff(values), np.diff(MEASURED, axis=0) @ found.slopes(MEASURED)[0])
    assert "minus" in found.describe()
    np.testing.assert_array_equal(scored(found.spec).value(MEASURED), values)  # as a fit's folder keeps it


@pytest.mark.parametrize("word", ["mean", "zscore", "worst"])
def test_words_maximise_scores_too(word):
    found = scored({"maximise": word}, SCORES[:2])
    values = found.value(MEASURED[:, :2])
    assert values[1] < values[0] and found.minimise == {"maximise": word}
    assert (found.slopes(MEASURED[:, :2]) <= 0).all()


@pytest.mark.parametrize("spec", ["mean", "arc_acc", {"arc_acc": 1, "code": 1}, "zscore", {"code": 1, "squad/f1": 2}])
def test_a_score_without_a_direction_is_never_minimised(spec):
    with pytest.raises(InputError, match=r"(arc_acc|squad/f1).*maximise: "):
        scored(spec)


def test_whoever_says_minimise_means_it_also_when_it_is_read_back():
    found = scored({"minimise": "arc_acc"})
    assert found.value(MEASURED)[1] > found.value(MEASURED)[0]
    np.testing.assert_array_equal(scored(found.spec).weights, found.weights)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"maximise": "code"}, "metric/code_val_loss.*minimise"),
        ({"maximise": "arc_acc", "minimise": "code"}, "minimise and maximise"),
        ({"minimise": "mean"}, "would average arc_acc"),
        ({"minimise": "code", "max_increase": 0.01}, "max_increase bounds arc_acc"),
        ({"maximise": "arc_acc", "max_increase": {"squad/f1": 0.01}}, "max_increase bounds squad/f1"),
    ],
)
def test_losses_and_scores_are_not_mixed_up(spec, message):
    with pytest.raises(InputError, match=message):
        scored(spec)


def test_losses_need_no_direction_beside_scores_without_a_weight():
    assert scored("code").value(MEASURED).tolist() == [3.0, 2.0]


@pytest.mark.parametrize("weight", [1e308, float("inf"), 1e300])
def test_a_weight_that_overflows_is_named(weight):
    with pytest.raises(InputError, match="weight of code"):
        objective({"code": weight, "law": weight})
