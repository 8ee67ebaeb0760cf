"""Old runs still count after the domains changed: by exact rules, or by rules that say how far off they are."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.synthesize import synthesize
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.files import write_text
from proxymix.schemas import Domains, Shard, TokensManifest, loss_column
from proxymix.tables import write_table
from regression.data.runs_table import read_runs
from regression.expand import expand
from regression.models.averaged_gp import GP
from regression.reuse import reuse
from regression.reuse_rules.changes import Changes
from regression.reuse_rules.data_check import check_data
from regression.reuse_rules.frozen_domains import freeze_domains
from regression.reuse_rules.weight_rules import make_rules

OLD = {"code": 600, "news": 300, "blogs": 100, "spam": 50}
NEW = {"math": 200, "python": 400, "c": 200, "web": 400}
CHANGES = {"split": {"code": ["python", "c"]}, "merge": {"web": ["news", "blogs"]}, "add": ["math"], "drop": ["spam"]}


def tokens_csv(path: Path, tokens: dict[str, int]) -> Path:
    write_table(path, ("domain", "tokens"), list(tokens.items()))
    return path


def runs_csv(folder: Path, name: str, domains: list[str], weights, losses, first: int = 1) -> dict[str, Path]:
    """mixtures and losses of runs, the targets being the losses' keys."""
    paths = {"mixtures": folder / f"{name}_mixtures.csv", "losses": folder / f"{name}_losses.csv"}
    rows = [[i, *map(float, w)] for i, w in enumerate(weights, start=first)]
    write_table(paths["mixtures"], ["index", *(f"train_{d}" for d in domains)], rows)
    columns = np.column_stack(list(losses.values()))
    rows = [[i, *map(float, y)] for i, y in enumerate(columns, start=first)]
    write_table(paths["losses"], ["index", *map(loss_column, losses)], rows)
    return paths


@pytest.fixture
def old(tmp_path):
    """Four runs over the old domains, and the tables of domains."""
    weights = [[0.4, 0.45, 0.15, 0.0], [0.4, 0.6, 0.0, 0.0], [0.59, 0.3, 0.1, 0.01], [0.5, 0.0, 0.0, 0.5]]
    paths = runs_csv(tmp_path, "old", list(OLD), weights, {"code": [3.0, 3.1, 2.9, 3.2]})
    new, before = tokens_csv(tmp_path / "new.csv", NEW), tokens_csv(tmp_path / "before.csv", OLD)
    return paths | {"domains": new, "old_domains": before, "out": tmp_path / "out"}


def test_old_runs_are_written_over_the_new_domains_by_the_rules(old):
    reuse(**old, **CHANGES)
    table = MixtureTable.read(old["out"] / "mixtures.csv")
    assert (table.index, table.domains) == ([1, 3], list(NEW))
    # code .4 goes 2:1 to python and c; news and blogs sum up; math was not there; the 1% of spam is shared by the rest.
    np.testing.assert_allclose(table.weights[0], [0, 0.8 / 3, 0.4 / 3, 0.6])
    np.testing.assert_allclose(table.weights[1], np.array([0, 0.59 * 2 / 3, 0.59 / 3, 0.4]) / 0.99)
    runs = read_runs(old["out"] / "mixtures.csv", old["out"] / "losses.csv")
    assert runs.losses[:, 0].tolist() == [3.0, 2.9]


def test_what_is_left_out_is_listed_with_how_far_off_it_is(old, capsys):
    reuse(**old, **CHANGES)
    rows = {row["index"]: row for row in csv.DictReader((old["out"] / "reuse.csv").open())}
    assert [rows[i]["counts"] for i in "1234"] == ["yes", "no", "yes", "no"]
    # run 2: all .6 of web were news, where its tokens say .45 and .15; run 4: half of it was spam.
    np.testing.assert_allclose([float(rows[i]["off"]) for i in "1234"], [0, 0.15, 0.01, 0.5], atol=1e-12)
    assert float(rows["2"]["off_merged_web"]) == pytest.approx(0.15) and rows["2"]["off_dropped"] == "0.0"
    said = capsys.readouterr().err
    assert (
        "2 of 4 old runs count" in said and "tolerance 0.02: 2, 4" in said and "The nearest of them is 0.15 off" in said
    )
    assert "merged web: 1 runs are not exact, off by 0.15" in said
    assert f"Next: proxymix fit --mixtures {old['out'] / 'mixtures.csv'}" in said


def test_the_tolerance_says_what_is_near_enough(old):
    for tolerance, kept in ((0.0, [1]), (0.02, [1, 3]), (0.2, [1, 2, 3]), (1.0, [1, 2, 3, 4])):
        reuse(**old, **CHANGES, tolerance=tolerance)
        assert MixtureTable.read(old["out"] / "mixtures.csv").index == kept


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=4, max_size=4), st.lists(st.integers(1, 10**9), min_size=8, max_size=8))
def test_weights_stay_mixtures_and_the_rules_are_exact_where_they_claim_it(shares, counts):
    """Training on a merged domain draws its parts by their tokens: so written out, the new row is the old mixture."""
    old, new = dict(zip(OLD, counts[:4], strict=True)), dict(zip(NEW, counts[4:], strict=True))
    weights = np.array([shares]) / np.sum(shares)
    rules = make_rules(list(OLD), Domains.of(new), Changes(**CHANGES), Domains.of(old))
    moved, deviations = rules.apply(weights)
    assert moved.sum() == pytest.approx(1) and (moved >= 0).all() and moved[0, 0] == 0
    web = moved[0, 3] * np.array([old["news"], old["blogs"]]) / (old["news"] + old["blogs"])
    trained = np.array([moved[0, 1] + moved[0, 2], *web, 0.0])
    assert 0.5 * np.abs(trained - weights[0]).sum() <= deviations["merged web"][0] + deviations["dropped"][0] + 1e-9
    kept = weights * [1, 1, 1, 0]
    kept[0, 1:3] = kept[0, 1:3].sum() * np.array([old["news"], old["blogs"]]) / (old["news"] + old["blogs"])
    moved, deviations = rules.apply(kept / kept.sum())
    assert deviations["merged web"][0] < 1e-9 and deviations["dropped"][0] == 0


def test_new_runs_come_below_the_old_ones_under_keys_that_are_free(old, tmp_path, capsys):
    new = runs_csv(tmp_path, "new", list(NEW), [[0.1, 0.2, 0.3, 0.4]], {"math": [2.0], "code": [2.5]})
    reuse(**old, **CHANGES, new_mixtures=new["mixtures"], new_losses=new["losses"])
    runs = read_runs(old["out"] / "mixtures.csv", old["out"] / "losses.csv")
    assert runs.index == [1, 3, 5] and runs.targets == [loss_column("code")]
    assert runs.losses[2, 0] == 2.5 and runs.weights[2].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert "left out, as old and new runs do not share them: the targets math" in capsys.readouterr().err
    rows = list(csv.DictReader((old["out"] / "reuse.csv").open()))
    assert (rows[-1]["index"], rows[-1]["runs"], rows[-1]["source_index"]) == ("5", "new", "1")


def test_a_domain_with_revised_data_is_dropped_and_added_under_its_name(old, tmp_path):
    new = tokens_csv(tmp_path / "revised.csv", OLD | {"spam": 70})
    reuse(**old | {"domains": new}, drop=["spam"], add=["spam"])
    table = MixtureTable.read(old["out"] / "mixtures.csv")
    assert table.index == [1, 2, 3] and not table.weights[:, table.domains.index("spam")].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": []}, r"the old spam not there; say what became of it"),
        ({"add": []}, r"the new math in no old run; say where it comes from"),
        ({"drop": ["spma"]}, r"'spma'.*none of that name; did you mean spam\?"),
        ({"drop": ["spam", "code"]}, r"'code'.*named twice"),
        ({"split": {"code": ["python"]}}, r"'code'.*two or more"),
        ({"split": {"code": ["python", "rust"]}}, r"'rust'"),
        ({"tolerance": 2.0}, r"tolerance is 2\.0"),
        ({"losses": None}, r"mixtures and losses go together"),
        ({"mixtures": None, "losses": None}, r"nothing to reuse"),
        ({"old_domains": None}, r"merge web: old_domains is missing"),
    ],
)
def test_a_domain_unaccounted_for_is_named_and_nothing_is_written(old, changes, message):
    with pytest.raises(InputError, match=message):
        reuse(**{**old, **CHANGES, **changes})
    assert not old["out"].exists()


def test_no_run_that_counts_is_an_error_that_says_what_would_do(tmp_path, old):
    paths = runs_csv(tmp_path, "far", list(OLD), [[0.4, 0.6, 0.0, 0.0]], {"code": [3.1]})
    with pytest.raises(InputError, match=r"none of 1 runs counts.*nearest is 0\.15 off.*tolerance is 0\.02"):
        reuse(**{**old, **paths, **CHANGES})


def manifest(
    folder: Path, domains: dict[str, list[str]], tokenizer: str = "aa", valid: dict[str, list[str]] | None = None
):
    given = {"train": domains, "valid": valid or {}}
    splits = {s: {d: tuple(Shard(h, 1, 1, 1, h) for h in hashes) for d, hashes in given[s].items()} for s in given}
    record = {"name": "t", "sha256": tokenizer, "vocabulary": 9, "eos": 0, "eos_token": "<e>"}
    TokensManifest(record, "uint16", splits, {s: {d: [] for d in given[s]} for s in given}, {}).write(folder, {}, {})
    return folder


def test_unchanged_data_and_the_tokenizer_are_checked_by_their_hashes(tmp_path):
    before = manifest(tmp_path / "old", {"news": ["h1", "h2"], "code": ["h3"]}, valid={"news": ["v1"]})
    same = manifest(tmp_path / "same", {"news": ["h1", "h2"], "code": ["xx"]}, valid={"news": ["v1"]})
    assert "tokens of 1 unchanged domains are the same" in check_data(before, same, ["news"])
    with pytest.raises(InputError, match=r"train/code is said to be unchanged.*sha256 xx\) than in .*old \(h3\)"):
        check_data(before, same, ["news", "code"])
    with pytest.raises(InputError, match="train/news"):
        check_data(before, manifest(tmp_path / "a", {"news": ["h2", "h1"], "code": ["h3"]}), ["news"])
    with pytest.raises(InputError, match=r"valid/news.*sha256 v2\) than in .*\(v1\)"):
        check_data(before, manifest(tmp_path / "b", {"news": ["h1", "h2"]}, valid={"news": ["v2"]}), ["news"])
    with pytest.raises(InputError, match=r"tokenizer is another one \(sha256 bb\) than in .*\(aa\)"):
        check_data(before, manifest(tmp_path / "c", {"news": ["h1", "h2"]}, tokenizer="bb"), ["news"])
    with pytest.raises(InputError, match="no domain 'news'"):
        check_data(before, manifest(tmp_path / "d", {"code": ["h3"]}), ["news"])


def test_without_manifests_it_says_that_nothing_was_checked(old, tmp_path, capsys):
    reuse(**old, **CHANGES, old_tokens=manifest(tmp_path / "o", {}), tokens=tmp_path / "nowhere")
    said = capsys.readouterr().err
    assert "Not checked" in said and f"of the new domains in {tmp_path / 'nowhere'}" in said
    assert "of the old domains" not in said


def test_other_data_under_an_unchanged_name_stops_everything(old, tmp_path):
    folders = manifest(tmp_path / "o", {"x": ["1"]}), manifest(tmp_path / "n", {"x": ["2"]})
    paths = runs_csv(tmp_path, "x", ["x", "y"], [[0.5, 0.5]], {"x": [1.0]})
    domains = tokens_csv(tmp_path / "xz.csv", {"x": 1, "z": 1})
    with pytest.raises(InputError, match="train/x"):
        reuse(domains, tmp_path / "out", **paths, drop=["y"], add=["z"], tokens=folders[1], old_tokens=folders[0])
    assert not (tmp_path / "out").exists()


def law(weights: np.ndarray) -> np.ndarray:
    """A planted loss over math, python, c, web."""
    return 2 + 0.5 * (weights @ [0.3, 1.0, 0.5, 0.2] + 0.05) ** -0.4 + 0.6 * (weights[:, 0] + 0.05) ** -0.3


def test_reused_runs_make_few_new_ones_go_further(tmp_path):
    """On a planted law, a regression of 40 old and 10 new runs is far better than one of the 10 new ones alone."""
    rng = np.random.default_rng(0)
    catalogue = {"code": 600, "web": 400}
    codes = rng.uniform(0, 1, 40)
    weights = np.column_stack([np.zeros(40), codes * 2 / 3, codes / 3, 1 - codes])
    old = runs_csv(
        tmp_path,
        "old",
        list(catalogue),
        np.column_stack([codes, 1 - codes]),
        {"web": law(weights) + rng.normal(0, 0.005, 40)},
    )
    fresh, test = rng.dirichlet(np.ones(4), 10), rng.dirichlet(np.ones(4), 400)
    new = runs_csv(tmp_path, "new", list(NEW), fresh, {"web": law(fresh) + rng.normal(0, 0.005, 10)})
    reuse(
        tokens_csv(tmp_path / "new.csv", NEW),
        tmp_path / "out",
        **old,
        split={"code": ["python", "c"]},
        add=["math"],
        new_mixtures=new["mixtures"],
        new_losses=new["losses"],
    )
    both = read_runs(tmp_path / "out" / "mixtures.csv", tmp_path / "out" / "losses.csv")
    assert len(both.index) == 50

    def error(X, y):
        return np.sqrt(np.mean((GP().fit(X, y).predict(test) - law(test)) ** 2))

    alone = error(fresh, both.losses[40:, 0])
    assert error(both.weights, both.losses[:, 0]) < 0.6 * alone


@pytest.fixture
def frozen(old, tmp_path):
    """The old optimum frozen while code is split and math comes: news and blogs stay 3 to 1."""
    Mixture({"code": 0.5, "news": 0.3, "blogs": 0.1, "spam": 0.1}).write(tmp_path / "optimal.yaml")
    new = {"math": 200, "python": 400, "c": 200, "blogs": 100, "news": 300}
    out = tmp_path / "frozen"
    changes = {"split": CHANGES["split"], "add": ["math"], "drop": ["spam"]}
    reuse(tokens_csv(tmp_path / "five.csv", new), out, freeze=tmp_path / "optimal.yaml", **changes)
    return out / "reduced"


def test_what_did_not_change_is_one_domain_with_the_tokens_it_can_give(frozen):
    table = Domains.read(frozen / "domains.csv")
    assert table.names == ("frozen", "math", "python", "c") and table.tokens.tolist() == [400, 200, 400, 200]
    recipe = yaml.safe_load((frozen / "frozen.yaml").read_text())
    assert recipe["members"] == pytest.approx({"news": 0.75, "blogs": 0.25})
    carried = Mixture.read(frozen / "carried_mixture.yaml").weights
    assert carried["math"] == 0 and carried["python"] == pytest.approx(0.5 / 0.9 * 2 / 3)


def test_an_epoch_cap_on_the_virtual_domain_is_one_on_each_member():
    domains = Domains(("a", "b", "c"), np.array([900, 100, 50]), np.array([9, 1, 1]), np.array([1800, 200, 100]))
    _, table = freeze_domains(domains, {"a": 0.4, "b": 0.4, "old": 0.2}, ["a", "b"], "mixture.yaml")
    # b is half of it, so 200 tokens use up all 100 of b (and 100 of a's 900).
    assert table.names == ("frozen", "c") and (table.tokens[0], table.documents[0], table.bytes[0]) == (200, 2, 400)
    assert table.available_tokens is None
    sample = replace(domains, available_tokens=np.array([9000, 2000, 50]))
    _, table = freeze_domains(sample, {"a": 0.4, "b": 0.4, "old": 0.2}, ["a", "b"], "mixture.yaml")
    assert table.true_tokens.tolist() == [4000, 50] and table.tokens.tolist() == [200, 50]


def test_a_sweep_over_the_reduced_domains_expands_to_all(frozen, tmp_path):
    synthesize(frozen / "domains.csv", frozen, num_mixtures=8, seed=1)
    expand(frozen, frozen / "frozen.yaml", tmp_path / "all")
    small, full = MixtureTable.read(frozen), MixtureTable.read(tmp_path / "all" / "mixtures.csv")
    assert full.index == small.index and full.domains == ["math", "python", "c", "blogs", "news"]
    weights = dict(zip(full.domains, full.weights.T, strict=True))
    virtual = small.weights[:, small.domains.index("frozen")]
    np.testing.assert_allclose(weights["news"], 0.75 * virtual)
    np.testing.assert_allclose(weights["python"], small.weights[:, small.domains.index("python")], atol=1e-15)
    np.testing.assert_allclose(full.weights.sum(axis=1), 1, atol=1e-12)
    one = Mixture.read(tmp_path / "all" / "mixtures" / "n00003.yaml").weights
    assert one == pytest.approx(dict(zip(full.domains, full.weights[2], strict=True)))


def test_an_optimum_over_the_reduced_domains_expands_to_all(frozen, tmp_path):
    weights = {"frozen": 0.4, "math": 0.3, "python": 0.2, "c": 0.1}
    Mixture(weights, {"seed": 7, "epochs": {"frozen": 2.0}}).write(tmp_path / "best.yaml")
    expand(tmp_path / "best.yaml", frozen / "frozen.yaml", tmp_path / "optimal_mixture.yaml")
    mixture = Mixture.read(tmp_path / "optimal_mixture.yaml")
    got, about = mixture.weights, mixture.extra
    assert got == pytest.approx({"math": 0.3, "python": 0.2, "c": 0.1, "blogs": 0.1, "news": 0.3})
    assert (
        about["seed"] == 7 and "epochs" not in about and about["frozen"] == pytest.approx({"news": 0.75, "blogs": 0.25})
    )


def test_expanding_other_domains_or_into_the_wrong_kind_of_place_is_an_error(frozen, tmp_path):
    Mixture({"frozen": 0.4, "maths": 0.6}).write(tmp_path / "best.yaml")
    with pytest.raises(InputError, match="maths"):
        expand(tmp_path / "best.yaml", frozen / "frozen.yaml", tmp_path / "o.yaml")
    with pytest.raises(InputError, match="one mixture becomes a YAML"):
        expand(tmp_path / "best.yaml", frozen / "frozen.yaml", tmp_path / "folder")
    with pytest.raises(InputError, match=r"domains\.csv"):
        expand(tmp_path / "best.yaml", frozen / "domains.csv", tmp_path / "o.yaml")


def test_where_nothing_is_left_to_freeze_it_says_so(old, tmp_path):
    Mixture({"code": 1.0, "news": 0.0}).write(tmp_path / "optimal.yaml")
    with pytest.raises(InputError, match="no weight on any unchanged domain"):
        reuse(
            tokens_csv(tmp_path / "n.csv", {"python": 1, "c": 1, "news": 3}),
            tmp_path / "o",
            freeze=tmp_path / "optimal.yaml",
            split=CHANGES["split"],
        )


def test_the_command_takes_its_changes_from_a_yaml(old, tmp_path, capsys):
    write_text(tmp_path / "changes.yaml", yaml.safe_dump(CHANGES))
    flags = [
        f for name in ("mixtures", "losses", "domains", "old_domains", "out") for f in (f"--{name}", str(old[name]))
    ]
    assert main(["reuse", *flags, "--config", str(tmp_path / "changes.yaml")]) == 0
    assert MixtureTable.read(old["out"] / "mixtures.csv").index == [1, 3]
    assert main(["reuse", *flags, "--drop", "spam"]) == 2
    assert "error: " in capsys.readouterr().err
