"""What is a loss, a score or neither is told by names or asked for; wandb's exports are tables of losses."""

import json

import numpy as np
import pytest

from proxymix.errors import InputError
from regression.data.columns import kind_of
from regression.data.runs_table import read_runs

MIXTURES = "index,train_code,train_law\n1,0.25,0.75\n2,0.5,0.5\n3,1,0\n"


def files(folder, losses: str, mixtures: str = MIXTURES):
    (folder / "mixtures.csv").write_text(mixtures)
    (folder / "losses.csv").write_text(losses)
    return folder / "mixtures.csv", folder / "losses.csv"


def column(name: str, values=(3.0, 2.5, 2.0)) -> str:
    return f'index,"{name}"\n' + "".join(f"{i},{v}\n" for i, v in enumerate(values, start=1))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            "loss",
            ["metric/score_val_loss", "val_loss", "evalLoss", "code_bpb", "ppl/code", "bits_per_byte", "acc_loss"],
        ),
        ("score", ["arc_acc", "accuracy", "squad/f1", "exact_match", "ROUGE-L", "evalAcc", "acc_norm,none", "pass@1"]),
        ("bookkeeping", ["_timestamp", "_step", "_runtime", "epoch", "train/epoch", "Seed", "lr", "acc_stderr,none"]),
        ("unknown", ["lambada", "hellaswag", "accent", "emotion", "lossless"]),
    ],
)
def test_the_last_word_of_a_name_says_what_a_column_is(kind, names):
    assert [kind_of(name) for name in names] == [kind] * len(names)


@pytest.mark.parametrize("name", ["lambada", "arc_acc", "exact_match", "_timestamp", "epoch", "train_loss"])
def test_what_is_no_loss_by_name_is_asked_for(tmp_path, name):
    with pytest.raises(InputError, match=rf"losses\.csv: no column .*{name}"):
        read_runs(*files(tmp_path, column(name)))


def test_what_is_asked_for_is_taken_unless_it_is_bookkeeping(tmp_path):
    assert read_runs(*files(tmp_path, column("lambada")), ["lambada"]).targets == ["lambada"]
    assert read_runs(*files(tmp_path, column("arc_acc")), ["arc_acc"]).targets == ["arc_acc"]
    with pytest.raises(InputError, match=r"_step.*leave it out"):
        read_runs(*files(tmp_path, column("_step")), ["_step"])


def test_losses_are_taken_and_what_stands_beside_them_is_named(tmp_path, capsys):
    losses = "index,val_loss,arc_acc,_timestamp,seed,lambada\n"
    losses += "".join(f"{i},{4 - i},0.{i},{1735787045 + 600 * i},1,2.{i}\n" for i in (1, 2, 3))
    assert read_runs(*files(tmp_path, losses)).targets == ["val_loss"]
    said = capsys.readouterr().err
    assert "arc_acc" in said and "lambada" in said and "_timestamp" not in said


def test_columns_of_domains_are_losses_unless_they_look_like_weights(tmp_path):
    assert read_runs(*files(tmp_path, column("code"))).targets == ["code"]
    with pytest.raises(InputError, match="--targets code"):
        read_runs(*files(tmp_path, column("code", (0.1, 0.2, 0.3))))


def test_the_table_of_runs_that_wandb_exports_is_read(tmp_path):
    rows = [("n00003", 2.0), ("n00001", 3.0), ("n00002", 2.5)]
    text = '"Name","State","Runtime","lr","metric/code_val_loss"\n'
    text += "".join(f'"{name}","finished","120","0.001","{loss}"\n' for name, loss in rows)
    runs = read_runs(*files(tmp_path, text))
    assert (runs.index, runs.targets, runs.losses[:, 0].tolist()) == ([1, 2, 3], ["metric/code_val_loss"], [3, 2.5, 2])
    crashed = text.replace('"n00002","finished"', '"n00002","crashed"')
    with pytest.raises(InputError, match="index 2: metric/code_val_loss is crashed"):
        read_runs(*files(tmp_path, crashed))
    assert read_runs(*files(tmp_path, crashed), allow_missing=True).index == [1, 3]


def test_a_chart_that_wandb_exports_gives_the_last_value_of_each_run(tmp_path):
    header, early, late = ['"Step"'], ['"100"'], ['"200"']
    for run, first, last in (("n00001", 9, 3.0), ("n00002", 8, 2.5), ("n00003", 7, 2.0)):
        for end in ("", "__MIN", "__MAX"):
            header.append(f'"{run} - metric/code_val_loss{end}"')
            early.append(f'"{first}"')
            late.append(f'"{last}"')
    lines = [",".join(row) for row in (header, late, early)]
    runs = read_runs(*files(tmp_path, "\n".join(lines) + "\n"))
    assert (runs.index, runs.targets, runs.losses[:, 0].tolist()) == ([1, 2, 3], ["metric/code_val_loss"], [3, 2.5, 2])
    lines[1] = lines[1].replace('"2.5"', '""')
    with pytest.raises(InputError, match=r"index 2: .* is of Step 100"):
        read_runs(*files(tmp_path, "\n".join(lines) + "\n"))


def test_runs_of_other_names_meet_by_name(tmp_path):
    mixtures = "name,train_code,train_law\nswift-sun-1,0.25,0.75\nold-sea-2,0.5,0.5\n"
    losses = "Name,val_loss\nold-sea-2,2.5\nswift-sun-1,3\n"
    runs = read_runs(*files(tmp_path, losses, mixtures))
    np.testing.assert_array_equal(runs.losses[:, 0], [2.5, 3])


def test_an_accuracy_is_maximised_by_the_whole_chain_when_asked(tmp_path):
    from mixture_config.files.mixture import Mixture
    from regression.fit import fit
    from regression.propose import propose

    weights = np.random.default_rng(1).dirichlet(np.ones(3), 24)
    rows = [f"{i},{','.join(repr(float(v)) for v in row)}\n" for i, row in enumerate(weights)]
    (tmp_path / "mixtures.csv").write_text("index,train_a,train_b,train_c\n" + "".join(rows))
    rows = [f"{i},{0.3 + 0.2 * row[0]}\n" for i, row in enumerate(weights)]
    (tmp_path / "losses.csv").write_text("index,arc_acc\n" + "".join(rows))
    tables = (tmp_path / "mixtures.csv", tmp_path / "losses.csv", tmp_path / "fit")
    with pytest.raises(InputError, match=r"arc_acc.*maximise"):
        fit(*tables, targets=["arc_acc"], model="linear", workers=1)
    fit(*tables, targets=["arc_acc"], model="linear", objective={"maximise": "arc_acc"}, workers=1)
    assert json.loads((tmp_path / "fit" / "fit.json").read_text())["objective"] == {"maximise": {"arc_acc": 1.0}}
    propose(tmp_path / "fit", tmp_path / "p.yaml", num_curves=0, num_splits=0, workers=1)
    assert Mixture.read(tmp_path / "p.yaml").weights["a"] > 0.8
