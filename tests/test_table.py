"""Mixtures meet losses by key, and what cannot be joined or read says where and what to do."""

import os
from pathlib import Path

import numpy as np
import pytest

from mixture_config.files.mixture_table import MixtureTable
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from regression.data.divergence import diverged
from regression.data.realised_mixtures import check_realised
from regression.data.runs import Runs, resolve_targets
from regression.data.runs_table import read_runs

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
        (
            MIXTURES,
            LOSSES.replace("index", "step"),
            r"losses\.csv: no key column shared with .*index, run, run_id, name",
        ),
        (MIXTURES, "index,train_code\n1,a\n2,b\n3,c\n", r"losses\.csv: no column of losses"),
        (MIXTURES, "index,metric/law_val_loss\n1,\n2,\n3,nan\n", r"no numbers in metric/law_val_loss; leave it out"),
        (MIXTURES.replace("\n", "\nn", 3).rstrip("n"), LOSSES, r"cannot meet 'n1' in .*mixtures\.csv"),
        (MIXTURES, LOSSES.replace("\n2,", "\nx2,"), r"the key 'x2' cannot meet 1 in .*mixtures\.csv"),
        (MIXTURES.replace("train_law", "train_code"), LOSSES, r"mixtures\.csv: two columns are named 'train_code'"),
        ("", LOSSES, r"mixtures\.csv: the file is empty"),
    ],
)
def test_what_cannot_be_read_names_the_file_and_the_rows(tmp_path, mixtures, losses, message):
    with pytest.raises(InputError, match=message):
        read_runs(*tables(tmp_path, mixtures, losses), allow_missing=True)


@pytest.mark.parametrize(
    ("mixtures", "losses", "line", "kept"),
    [
        (MIXTURES.replace("3,1.0", "2,1.0"), LOSSES, "index 2: more than one row in mixtures.csv", [1]),
        (MIXTURES, LOSSES + "3,1,1\n", "index 3: more than one row in losses.csv", [1, 2]),
        (MIXTURES + "9,0,1\n", LOSSES, "index 9: no loss in losses.csv", [1, 2, 3]),
        (MIXTURES, LOSSES + "9,1,1\n7,1,1\n", "index 9, 7: no mixture in mixtures.csv", [1, 2, 3]),
        (MIXTURES, LOSSES.replace("2,3.0", "2,"), "index 2: metric/code_val_loss is nan, not a finite number", [1, 3]),
        (MIXTURES, LOSSES.replace("2,3.0", "2,inf"), "index 2: metric/code_val_loss is inf, not a", [1, 3]),
        (MIXTURES, LOSSES.replace("2,3.0", "2,oops"), "index 2: metric/code_val_loss is oops, not a", [1, 3]),
        (MIXTURES, LOSSES.replace("2,3.0,2.5", "2,nan,nan"), "not a finite number (nor are 1 more columns)", [1, 3]),
        (MIXTURES, LOSSES.replace("\n2,", "\n,"), "index (line 3): the key is empty in losses.csv", [1, 3]),
    ],
)
def test_runs_that_cannot_be_used_stop_the_fit_unless_they_may_be_left_out(
    tmp_path, capsys, mixtures, losses, line, kept
):
    files = tables(tmp_path, mixtures, losses)
    with pytest.raises(InputError, match=r"(?s)runs cannot be used:.*--allow_missing") as error:
        read_runs(*files)
    assert line in str(error.value)
    runs = read_runs(*files, allow_missing=True)
    assert runs.index == kept
    whole = read_runs(*tables(tmp_path))
    np.testing.assert_array_equal(runs.losses, whole.losses[[run - 1 for run in kept]])
    np.testing.assert_array_equal(runs.weights, whole.weights[[run - 1 for run in kept]])
    told = capsys.readouterr().err
    assert line in told and "are left out" in told
    assert {entry.key for entry in runs.left_out}.isdisjoint(kept)
    assert runs.left_out and not whole.left_out


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    rows = [f"{i},0.5,0.5" for i in range(1, 21)]
    mixtures = "\n".join(["index,train_code,train_law", *rows, "31,0.5,0.5", "20,1,0"]) + "\n"
    losses = [f"{i},{3 + i / 100},2" for i in range(1, 21)]
    losses[3], losses[4], losses[5] = "4,,2", "5,3,inf", "6,9e9,2"
    files = tables(tmp_path, mixtures, "\n".join(["index,code,law", *losses, "40,3,2", "41,3,2"]) + "\n")
    with pytest.raises(InputError, match="7 of 23 runs cannot be used") as error:
        read_runs(*files)
    for run in ("20", "31", "40, 41", "4", "5", "6"):
        assert f"index {run}: " in str(error.value)
    runs = read_runs(*files, allow_missing=True)
    assert runs.index == [i for i in range(1, 20) if i not in (4, 5, 6)]
    assert [(entry.key, entry.column, entry.value) for entry in runs.left_out] == [
        (20, "", ""),
        (31, "", ""),
        (40, "", ""),
        (41, "", ""),
        (4, "code", "nan"),
        (5, "law", "inf"),
        (6, "code", "9e+09"),
    ]


def test_nothing_left_is_an_error_even_where_runs_may_be_left_out(tmp_path):
    files = tables(tmp_path, MIXTURES, LOSSES.replace("\n1", "\n11").replace("\n2", "\n12").replace("\n3", "\n13"))
    with pytest.raises(InputError, match="6 of 6 runs cannot be used"):
        read_runs(*files, allow_missing=True)


def test_a_long_list_is_cut_and_counted(tmp_path):
    losses = "index,law\n" + "".join(f"{i},1.5\n" for i in range(1, 101))
    with pytest.raises(InputError, match=r"97 of 100 runs .*\n  index 4, .*, 23 and 77 more: no mixture"):
        read_runs(*tables(tmp_path, MIXTURES, losses))


def test_only_the_targets_asked_for_need_to_be_there(tmp_path):
    files = tables(tmp_path, losses=LOSSES.replace("2,3.0", "2,"))
    assert read_runs(*files, ["law"]).index == [1, 2, 3]


def test_a_word_in_a_column_of_numbers_is_a_mistake_and_a_column_of_words_a_note(tmp_path):
    losses = "index,lambada,note\n1,1.5,good\n2,n.a.,7\n3,2.5,bad\n"
    runs = read_runs(*tables(tmp_path, losses=losses), ["lambada"], allow_missing=True)
    assert (runs.targets, runs.index) == (["lambada"], [1, 3])


def test_a_second_key_that_pairs_the_rows_otherwise_stops_the_fit(tmp_path):
    mixtures = "index,run,train_a,train_b\n0,x,1,0\n1,y,0,1\n"
    files = tables(tmp_path, mixtures, "index,run,metric/a_val_loss\n0,y,4\n1,x,2\n")
    with pytest.raises(InputError, match=r"losses\.csv: index [01] is run [xy] here and run [xy] in .*mixtures\.csv"):
        read_runs(*files)
    assert read_runs(*tables(tmp_path, mixtures, "index,run,metric/a_val_loss\n0,first,4\n1,second,2\n")).index == [
        0,
        1,
    ]


def test_numbers_that_a_gap_turned_into_floats_still_meet(tmp_path):
    runs = read_runs(*tables(tmp_path, MIXTURES.replace("\n2,", "\n2.0,"), LOSSES))
    assert runs.index == [1, 2, 3]


def test_domains_without_a_loss_and_losses_without_a_domain_are_mentioned(tmp_path, capsys):
    runs = read_runs(*tables(tmp_path, losses=LOSSES.replace("law", "lore")))
    assert runs.losses.shape == (3, 2)
    told = capsys.readouterr().err
    assert "1 of 2 domains have no loss of their own (law)" in told
    assert "1 of 2 losses are of no domain that is mixed (lore)" in told


def sweep(num_runs: int = 64, num_domains: int = 6, seed: int = 0) -> Runs:
    """Most runs lack half of the domains, and without a domain its loss is three times what it is with it."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(num_domains), num_runs) * (rng.uniform(size=(num_runs, num_domains)) < 0.6)
    weights[:, 0] += 0.05
    weights /= weights.sum(axis=1, keepdims=True)
    losses = np.where(weights > 0, 2.0 + 0.5 * np.exp(-5 * weights), 6.0) + 0.01 * rng.normal(size=weights.shape)
    domains = [f"d{i}" for i in range(num_domains)]
    return Runs(list(range(num_runs)), domains, [f"metric/{d}_val_loss" for d in domains], weights, losses)


def test_runs_without_a_domain_are_not_diverged():
    for seed in range(20):
        assert diverged(sweep(seed=seed)) == []
    rare = sweep()
    rare.weights[:, 1], rare.losses[:, 1] = 0.2, 2.2
    rare.weights[7, 1], rare.losses[7, 1] = 0.0, 9.0  # the only run without it
    assert diverged(rare) == []


@pytest.mark.parametrize("num_runs", [8, 64])
def test_a_run_far_off_the_rest_is_diverged_and_the_table_says_where(num_runs):
    runs = sweep(num_runs)
    runs.losses[5, 0] = 11.0
    (found,) = diverged(runs)
    assert (found.key, found.column, found.value) == (5, "metric/d0_val_loss", "11")
    assert "diverged; the median of all runs is 2." in found.problem


def test_a_tenth_of_diverged_runs_does_not_hide_itself():
    runs = sweep()
    runs.losses[:6] = 10.8
    assert {entry.key for entry in diverged(runs)} == {0, 1, 2, 3, 4, 5}


def write_manifests(folder: Path, runs: Runs, num_blocks: int = 100, block: int = 64) -> None:
    """What training writes: quotas of whole blocks by largest remainder."""
    for run, weights in zip(runs.index, runs.weights, strict=True):
        quotas = np.floor(weights * num_blocks).astype(int)
        quotas[np.argsort(quotas - weights * num_blocks)[: num_blocks - quotas.sum()]] += 1
        tokens = {d: int(q) * block for d, q in zip(runs.domains, quotas, strict=True)}
        content = {"settings": {"sequence_length": block}, "declared_tokens": tokens, "realised_tokens": tokens}
        write_yaml(folder / f"n{run:05d}" / "manifest.yaml", content)


def change_manifest(folder: Path, run: int, **changes: dict[str, int]) -> None:
    path = folder / f"n{run:05d}" / "manifest.yaml"
    content = read_yaml(path)
    write_yaml(path, content | {key: content[key] | tokens for key, tokens in changes.items()})


def test_whole_blocks_by_largest_remainder_are_the_declared_mixture(tmp_path):
    runs = sweep()
    write_manifests(tmp_path, runs)
    check_realised(runs, [tmp_path])


def test_a_run_that_was_fed_another_mixture_stops_the_fit(tmp_path):
    runs = sweep(12)
    write_manifests(tmp_path, runs)
    weights, other = runs.weights.copy(), runs.weights[[1, 0, *range(2, 12)]]
    (tmp_path / "n00011" / "manifest.yaml").unlink()
    change_manifest(tmp_path, 4, realised_tokens={"d0": 64})
    with pytest.raises(InputError, match=r"2 of 12 runs were not trained on the mixture") as error:
        check_realised(Runs(runs.index, runs.domains, runs.targets, weights, runs.losses), [tmp_path])
    assert "run 4: d0 is " in str(error.value) and "n00011/manifest.yaml is missing" in str(error.value)
    with pytest.raises(InputError, match="4 of 12 runs") as error:
        check_realised(Runs(runs.index, runs.domains, runs.targets, other, runs.losses), [tmp_path])
    assert "tokens, where" in str(error.value)


def test_runs_of_further_rounds_are_found_in_their_own_folder(tmp_path):
    runs = sweep(12)
    write_manifests(tmp_path / "proxies", runs)
    (tmp_path / "rounds").mkdir()
    (tmp_path / "proxies" / "n00011").rename(tmp_path / "rounds" / "n00011")
    folders = [tmp_path / "proxies", tmp_path / "rounds"]
    check_realised(runs, folders)
    change_manifest(tmp_path / "rounds", 11, realised_tokens={"d0": 64})
    with pytest.raises(InputError, match="1 of 12 runs"):
        check_realised(runs, folders)


def test_a_domain_that_the_table_does_not_have_must_not_have_been_fed(tmp_path):
    runs = sweep(8)
    write_manifests(tmp_path, runs)
    change_manifest(tmp_path, 0, realised_tokens={"secret": 640}, declared_tokens={"secret": 640})
    with pytest.raises(InputError, match="run 0: secret is 0 of the mixture, fed 640 of 7,040 tokens"):
        check_realised(runs, [tmp_path])


def test_a_manifest_of_something_else_is_refused(tmp_path):
    runs = sweep(8)
    write_manifests(tmp_path, runs)
    write_yaml(tmp_path / "n00003" / "manifest.yaml", {"settings": {}})
    with pytest.raises(InputError, match=r"n00003/manifest\.yaml: not a run's manifest"):
        check_realised(runs, [tmp_path])


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
    assert MixtureTable.read(path).index == [3, 1, 2]


@pytest.mark.skipif(not (SWEEPS / "regmix").exists(), reason="the published sweeps are not here")
@pytest.mark.parametrize(
    ("mixtures", "losses", "shape"),
    [
        ("regmix/train_mixture_1m.csv", "regmix/train_pile_loss_1m.csv", (512, 17, 13)),
        ("regmix/test_mixture_1m.csv", "regmix/test_pile_loss_1m.csv", (256, 17, 13)),
        ("olmix_dclm/dclm_ratios.csv", "olmix_dclm/dclm_metrics.csv", (127, 24, 110)),
    ],
)
def test_published_sweeps_are_read_as_they_are_and_nothing_is_left_out(mixtures, losses, shape):
    runs = read_runs(SWEEPS / mixtures, SWEEPS / losses)
    assert (*runs.weights.shape, runs.losses.shape[1]) == shape
    np.testing.assert_allclose(runs.weights.sum(axis=1), 1, atol=1e-9)
    rng = np.random.default_rng(0)
    for size in (8, 16, 32, 64):
        for _ in range(20):
            some = rng.permutation(len(runs.index))[:size]
            index = [runs.index[i] for i in some]
            assert not diverged(Runs(index, runs.domains, runs.targets, runs.weights[some], runs.losses[some]))


@pytest.mark.skipif(not (SWEEPS / "regmix").exists(), reason="the published sweeps are not here")
def test_a_model_that_learnt_nothing_is_found_among_the_published_runs():
    for mixtures, losses in (
        ("regmix/train_mixture_1m.csv", "regmix/train_pile_loss_1m.csv"),
        ("olmix_dclm/dclm_ratios.csv", "olmix_dclm/dclm_metrics.csv"),
    ):
        runs = read_runs(SWEEPS / mixtures, SWEEPS / losses)
        runs.losses[3] = np.log(50_432)
        assert {entry.key for entry in diverged(runs)} == {runs.index[3]}


def wrong_cell(folder: Path, value: str, column: str = "metric/d0_val_loss") -> tuple[Path, Path]:
    """A sweep of 24 runs in which one loss is `value`."""
    runs = sweep(24)
    targets = [column if t == "metric/d0_val_loss" else t for t in runs.targets]
    cells = [[f"{v}" for v in row] for row in runs.losses]
    cells[5][0] = value
    rows = [f"{i},{','.join(row)}" for i, row in zip(runs.index, cells, strict=True)]
    weights = [f"{i},{','.join(str(v) for v in row)}" for i, row in zip(runs.index, runs.weights, strict=True)]
    mixtures = "\n".join([",".join(["index", *(f"train_{d}" for d in runs.domains)]), *weights]) + "\n"
    return tables(folder, mixtures, "\n".join([",".join(["index", *targets]), *rows]) + "\n")


@pytest.mark.parametrize("value", ["0.0", "0", "-5", "-0.001", "1e-300", "0.01", "1e300", "1e-320", "1e150"])
def test_a_loss_that_cannot_be_is_named_with_its_run(tmp_path, value):
    files = wrong_cell(tmp_path, value)
    with pytest.raises(InputError, match=r"losses\.csv.*\n  index 5: metric/d0_val_loss is "):
        read_runs(*files)
    assert 5 not in read_runs(*files, allow_missing=True).index


@pytest.mark.parametrize("column", ["val_loss", "code_bpb", "ppl"])
def test_other_losses_cannot_be_zero_either(tmp_path, column):
    with pytest.raises(InputError, match=f"index 5: {column} is 0"):
        read_runs(*wrong_cell(tmp_path, "0", column), [column])


def test_a_score_may_be_zero(tmp_path):
    assert len(read_runs(*wrong_cell(tmp_path, "0", "arc_acc"), ["arc_acc"]).index) == 24


def test_a_column_of_numbers_that_are_too_small_to_compute_with_leaves_no_run(tmp_path):
    with pytest.raises(InputError, match="2 of 2 runs"):
        read_runs(
            *tables(tmp_path, MIXTURES.rsplit("\n", 2)[0] + "\n", "index,val_loss\n1,1e-300\n2,2e-300\n"),
            ["val_loss"],
            True,
        )


def test_a_low_loss_that_much_of_the_domain_explains_is_kept():
    runs = sweep()
    runs.weights[:, 0] = 0.1
    runs.weights[5, 0], runs.losses[5, 0] = 1.0, 0.9
    runs.losses[:5, 0] = runs.losses[6:, 0] = 2.4
    assert diverged(runs) == []
    runs.weights[5, 0] = 0.05
    assert [entry.key for entry in diverged(runs)] == [5]
