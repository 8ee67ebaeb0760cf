"""Any sweep is read as the same table, whatever its form: ours, RegMix's or Olmix's, one file or a folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.synthesize import synthesize
from proxymix.errors import InputError

DATA = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture
def sweep(tmp_path):
    (tmp_path / "domains.csv").write_text("domain,tokens\ncode,600\nlaw,300\nnews,100\n")
    synthesize(tmp_path / "domains.csv", tmp_path, num_mixtures=12)
    return tmp_path


def test_a_table_a_folder_and_a_study_are_the_same_sweep(sweep):
    table = MixtureTable.read(sweep / "mixtures.csv")
    assert (table.index, table.domains) == (list(range(1, 13)), ["code", "law", "news"])
    for other in (sweep, sweep / "mixtures"):
        read = MixtureTable.read(other)
        assert (read.index, read.domains) == (table.index, table.domains)
        np.testing.assert_array_equal(read.weights, table.weights)


def test_regmixs_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    """n2 comes before n10; whole numbers and zeros are as its script writes them, to five decimals."""
    for number, weights in ((10, "1"), (2, "0.33333")):
        rest = "0" if weights == "1" else "0.66667"
        text = f"train:\n  train_the_pile_arxiv: {weights}\n  train_the_pile_freelaw: {rest}\nvalid:\n  valid_a: 1.0\nseed: 42\n"
        (tmp_path / f"n{number}.yaml").write_text(text)
    read = MixtureTable.read(tmp_path)
    assert (read.index, read.domains) == ([2, 10], ["the_pile_arxiv", "the_pile_freelaw"])
    np.testing.assert_allclose(read.weights, [[1 / 3, 2 / 3], [1, 0]], atol=1e-5)


def test_one_yaml_is_a_sweep_of_one(sweep):
    read = MixtureTable.read(sweep / "mixtures" / "n00003.yaml")
    assert read.index == [3] and read.weights.shape == (1, 3)


def test_olmixs_table_has_plain_columns_beside_its_keys(tmp_path):
    path = tmp_path / "ratios.csv"
    path.write_text(",run,name,dclm:politics,wiki\n0,a1,first-0,0.25,0.75\n1,b2,first-1,0.5,0.5\n")
    read = MixtureTable.read(path)
    assert (read.index, read.domains) == (["a1", "b2"], ["dclm.politics", "wiki"])
    np.testing.assert_array_equal(read.weights, [[0.25, 0.75], [0.5, 0.5]])


def test_olmixs_configurations_and_mixes_are_read(tmp_path):
    """Nested weights multiply down: .8 of dclm, of which .625 is politics; a domain that a mixture lacks has weight 0."""
    (tmp_path / "swarm").mkdir()
    (tmp_path / "swarm" / "swarm-0.yaml").write_text(
        "name: swarm-0\nmix:\n  dclm:\n    weight: 0.8\n    politics: {weight: 0.625}\n    games: 0.375\n  wiki: {weight: 0.2}\n"
    )
    (tmp_path / "swarm" / "swarm-1.yaml").write_text(
        "name: swarm-1\nmix:\n  wiki: {weight: 1.0, repetition_factor: 2}\n"
    )
    read = MixtureTable.read(tmp_path / "swarm")
    assert (read.index, read.domains) == (["swarm-0", "swarm-1"], ["dclm.politics", "dclm.games", "wiki"])
    np.testing.assert_allclose(read.weights, [[0.5, 0.3, 0.2], [0, 0, 1]])
    (tmp_path / "mixes.json").write_text(json.dumps({"mixes": [{"dclm:games": [0.4, 1], "wiki": [0.6, 1]}]}))
    read = MixtureTable.read(tmp_path / "mixes.json")
    assert read.domains == ["dclm.games", "wiki"] and read.weights.tolist() == [[0.4, 0.6]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mixtures.csv", "a,b\n0.5,0.5\n", "no key column; one of index, run, run_id, name is needed"),
        ("mixtures.csv", "index,a:b,a.b\n1,0.5,0.5\n", r"two columns are the weights of a\.b"),
        ("mixes.json", '{"mixes": []}', "no 'mixes', a list of mixtures"),
        ("mix.yaml", "mix: {a: {weight: much}}", "mix: a weight is no number"),
        ("mix.yaml", "mix: {a: {weight: 0.5}}", r"mix: the weights sum to 0\.5, not 1"),
        ("mix.yaml", "seed: 1", "no 'train' section of weights"),
    ],
)
def test_what_is_no_sweep_is_said(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        MixtureTable.read(tmp_path / name)


def test_a_folder_without_mixtures_is_said(tmp_path):
    with pytest.raises(InputError, match=r"no mixtures\.csv and no mixture YAMLs"):
        MixtureTable.read(tmp_path)


@pytest.mark.skipif(not DATA.exists(), reason="the published sweeps are not here")
def test_published_sweeps_are_read():
    regmix = MixtureTable.read(DATA / "regmix" / "train_mixture_1m.csv")
    olmix = MixtureTable.read(DATA / "olmix_dclm" / "dclm_ratios.csv")
    assert regmix.weights.shape == (512, 17) and olmix.weights.shape == (127, 24)
    for read in (regmix, olmix):
        np.testing.assert_allclose(read.weights.sum(axis=1), 1, atol=1e-12)


# one mixture, and the table of many


def test_a_mixture_keeps_all_else_of_its_file_and_every_bit_of_its_weights(tmp_path):
    mixture = Mixture({"web": 1 / 3, "code": 2 / 3, "old": 0.0}, {"model_name": "1m", "budget": 5})
    mixture.write(tmp_path / "m.yaml", targets=["web"])
    read = Mixture.read(tmp_path / "m.yaml")
    assert read.weights == mixture.weights and list(read.weights) == ["web", "code", "old"]
    assert read.extra == {"valid": {"valid_web": 1.0}, "model_name": "1m", "budget": 5}
    read.write(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == (tmp_path / "m.yaml").read_bytes()


def test_a_table_is_written_and_read_back_to_the_bit(tmp_path):
    weights = np.random.default_rng(0).dirichlet(np.ones(4), 20)
    MixtureTable(list(range(3, 23)), ["a", "b", "c-d", "e"], weights).write(tmp_path / "m.csv")
    assert (tmp_path / "m.csv").read_text().startswith("index,train_a,train_b,train_c-d,train_e\n3,")
    read = MixtureTable.read(tmp_path / "m.csv")
    assert read.index == list(range(3, 23)) and read.columns == ["train_a", "train_b", "train_c-d", "train_e"]
    np.testing.assert_array_equal(read.weights, weights)


def test_weights_are_aligned_by_name_and_other_domains_are_named():
    mixture = Mixture({"a": 0.5, "b": 0.3, "c": 0.2})
    table = MixtureTable([1], ["a", "b", "c"], np.array([[0.5, 0.3, 0.2]]))
    np.testing.assert_array_equal(mixture.aligned(["c", "a", "b"], "f"), [0.2, 0.5, 0.3])
    np.testing.assert_array_equal(table.aligned(["c", "a", "b"], "f"), [[0.2, 0.5, 0.3]])
    for either in (mixture, table):
        with pytest.raises(InputError, match=r"^f\.csv: lacks d and has the unknown b, c;"):
            either.aligned(["a", "d"], "f.csv")


def test_only_rounded_weights_are_rescaled():
    exact = {"a": 0.1, "b": 0.2, "c": 0.7 - 1e-10}
    assert Mixture.normalised(exact, "f").weights == exact
    assert Mixture.normalised({"a": 0.332, "b": 0.664}, "f").weights == pytest.approx({"a": 1 / 3, "b": 2 / 3})
