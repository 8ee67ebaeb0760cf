"""Mixtures meet losses by key, and what cannot be joined or read says where and what to do."""

import os
from pathlib import Path

import numpy as np
import pytest

from mixture_config.mixtures import read_mixtures
from proxymix.errors import InputError
from regression.table import align_domains, read_runs, resolve_targets

SWEEPS = Path(os.environ.get("PROXYMIX_SWEEPS", Path(__file__).parent.parent.parent / "shared" / "data"))

MIXTURES = "index,train_code,train_law\n1,0.25,0.75\n2,0.5,0.5\n3,1.0,0.0\n"
LOSSES = "index,metric/code_val_loss,metric/law_val_loss\n1,3.5,2.0\n2,3.0,2.5\n3,2.5,4.0\n"


def tables(folder: Path, mixtures: str = MIXTURES, losses: str = LOSSES) -> tuple[Path, Path]:
    (folder / "mixtures.csv").write_text(mixtures)
    (folder / "losses.csv").write_text(losses)
    return folder / "mixtures.csv", folder / "losses.csv"


def shuffled(text: str, order: tuple[int, ...]) -> str:
    header, *rows = text.splitlines()
    return "\n".join([header, *(rows[i] for i in order)]) + "\n"


def test_rows_join_by_key_whatever_their_order(tmp_path):
    runs = read_runs(*tables(tmp_path))
    assert runs.index == [1, 2, 3]
    assert runs.domains == ["code", "law"]
    assert runs.targets == ["metric/code_val_loss", "metric/law_val_loss"]
    np.testing.assert_array_equal(runs.weights, [[0.25, 0.75], [0.5, 0.5], [1, 0]])
    np.testing.assert_array_equal(runs.losses, [[3.5, 2.0], [3.0, 2.5], [2.5, 4.0]])
    again = read_runs(*tables(tmp_path, shuffled(MIXTURES, (2, 0, 1)), shuffled(LOSSES, (1, 2, 0))))
    assert again.index == runs.index
    np.testing.assert_array_equal(again.weights, runs.weights)
    np.testing.assert_array_equal(again.losses, runs.losses)


def test_columns_without_prefixes_and_an_unnamed_first_one_are_read(tmp_path):
    mixtures = ",run,name,index,art,law\n0,a1,x-0000,0,0.4,0.6\n1,b2,x-0001,1,0.1,0.9\n"
    losses = ",run,name,index,lambada,note,arc:rc\n0,b2,x-0001,1,1.5,good,2.5\n1,a1,x-0000,0,1.0,bad,2.0\n"
    runs = read_runs(*tables(tmp_path, mixtures, losses))
    assert (runs.index, runs.domains, runs.targets) == ([0, 1], ["art", "law"], ["lambada", "arc:rc"])
    np.testing.assert_array_equal(runs.losses, [[1.0, 2.0], [1.5, 2.5]])


def test_a_text_key_joins_where_there_is_no_index(tmp_path):
    mixtures = "run,train_a,train_b\nn00002,1,0\nn00001,0,1\n"
    runs = read_runs(*tables(tmp_path, mixtures, "run,metric/a_val_loss\nn00001,4\nn00002,2\n"))
    assert runs.index == ["n00001", "n00002"]
    np.testing.assert_array_equal(runs.weights, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(runs.losses, [[4], [2]])


def test_rounded_weights_are_renormalised_and_mentioned(tmp_path, capsys):
    runs = read_runs(*tables(tmp_path, MIXTURES.replace("2,0.5,0.5", "2,0.5,0.497")))
    np.testing.assert_allclose(runs.weights.sum(axis=1), 1, atol=1e-15)
    np.testing.assert_allclose(runs.weights[1], [0.5 / 0.997, 0.497 / 0.997])
    assert "1 of 3 rows sum to 0.997" in capsys.readouterr().err


def test_exact_weights_are_read_without_a_word(tmp_path, capsys):
    read_runs(*tables(tmp_path))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("mixtures", "losses", "message"),
    [
        (MIXTURES.replace("2,0.5,0.5", "2,0.5,0.4"), LOSSES, r"mixtures\.csv: .*1 of 3 rows.*index 2 sums to 0\.9"),
        (MIXTURES.replace("2,0.5,0.5", "2,1.5,-0.5"), LOSSES, r"mixtures\.csv: train_law of index 2 is -0\.5"),
        (MIXTURES.replace("2,0.5,0.5", "2,,1.0"), LOSSES, r"mixtures\.csv: train_code of index 2 is empty"),
        (MIXTURES.replace("3,1.0", "2,1.0"), LOSSES, r"mixtures\.csv: index 2 is there more than once"),
        (MIXTURES + "9,0,1\n", LOSSES, r"losses\.csv: 1 of 4 runs .* have no loss \(index 9\)\. Train them"),
        (MIXTURES, LOSSES + "9,1,1\n", r"mixtures\.csv: 1 of 4 runs .* have no mixture \(index 9\)"),
        (MIXTURES, LOSSES + "3,1,1\n", r"losses\.csv: index 3 is there more than once"),
        (MIXTURES, LOSSES.replace("2,3.0", "2,nan"), r"losses\.csv: metric/code_val_loss of index 2 is empty"),
        (
            MIXTURES,
            LOSSES.replace("2,3.0", "2,inf"),
            r"losses\.csv: metric/code_val_loss of index 2 is inf, not a finite",
        ),
        (MIXTURES, LOSSES.replace("2,3.0", "2,oops"), r"losses\.csv: metric/code_val_loss of index 2 is 'oops'"),
        (
            MIXTURES,
            LOSSES.replace("index", "step"),
            r"losses\.csv: no key column shared with .*index, run, run_id, name",
        ),
        (MIXTURES, LOSSES.replace("\n2,", "\n,"), r"losses\.csv: line 3 has no 'index'"),
        (MIXTURES, "index,train_code\n1,a\n2,b\n3,c\n", r"losses\.csv: no column of losses"),
        (MIXTURES.replace("\n", "\nn", 3).rstrip("n"), LOSSES, r"cannot meet"),
        ("", LOSSES, r"mixtures\.csv: not a CSV table"),
    ],
)
def test_what_cannot_be_joined_names_the_file_and_the_rows(tmp_path, mixtures, losses, message):
    with pytest.raises(InputError, match=message):
        read_runs(*tables(tmp_path, mixtures, losses))


def test_targets_are_columns_or_domains_and_a_misspelt_one_meets_its_neighbour(tmp_path):
    files = tables(tmp_path)
    assert read_runs(*files, ["law"]).targets == ["metric/law_val_loss"]
    assert read_runs(*files, ["metric/law_val_loss", "code"]).targets[1] == "metric/code_val_loss"
    with pytest.raises(InputError, match=r"losses\.csv: no target 'lwa'; nearest: law"):
        read_runs(*files, ["lwa"])
    with pytest.raises(InputError, match="named twice"):
        resolve_targets(["law", "metric/law_val_loss"], ["metric/law_val_loss"], "here")


def test_mixtures_alone_keep_their_order(tmp_path):
    path, _ = tables(tmp_path, shuffled(MIXTURES, (2, 0, 1)))
    assert read_mixtures(path).index == [3, 1, 2]


def test_domains_are_put_in_the_order_wanted_or_named_as_missing():
    weights = np.array([[0.1, 0.2, 0.7]])
    np.testing.assert_array_equal(align_domains(weights, ["a", "b", "c"], ["c", "a", "b"], "f"), [[0.7, 0.1, 0.2]])
    with pytest.raises(InputError, match=r"f: lacks d and has the unknown b; .* a, d, c"):
        align_domains(weights, ["a", "b", "c"], ["a", "d", "c"], "f")


@pytest.mark.skipif(not (SWEEPS / "regmix").exists(), reason="the published sweeps are not here")
@pytest.mark.parametrize(
    ("mixtures", "losses", "shape"),
    [
        ("regmix/train_mixture_1m.csv", "regmix/train_pile_loss_1m.csv", (512, 17, 13)),
        ("olmix_dclm/dclm_ratios.csv", "olmix_dclm/dclm_metrics.csv", (127, 24, 110)),
    ],
)
def test_published_sweeps_are_read_as_they_are(mixtures, losses, shape):
    runs = read_runs(SWEEPS / mixtures, SWEEPS / losses)
    assert (*runs.weights.shape, runs.losses.shape[1]) == shape
    np.testing.assert_allclose(runs.weights.sum(axis=1), 1, atol=1e-9)
