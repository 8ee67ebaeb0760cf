"""Exports: what each trainer's parser takes, and the weights back from it. The parsers here follow the facts of theirs."""

import itertools
import json
import math
import random
import re
import shlex
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_config.export import To, export, read_export
from mixture_config.files.mixture import Mixture
from mixture_config.files.olmix_files import flatten_mix
from mixture_config.formats.registry import FORMATS
from mixture_config.formats.to_ai2 import exact_ratios
from mixture_config.formats.trainer_format import TrainerFormat
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.files import write_yaml
from proxymix.schemas import Domains

WEIGHTS = {"web": 0.69998, "code": 0.3, "math": 2e-5, "old": 0.0}
NAMES = ["no", "1e5", "0123", "null", "a.b+c-d", "web", "web_text_document", *(f"topic_{i:02d}" for i in range(57))]
ALL = list(FORMATS)
PREFIXED = ["megatron", "megatron_args_file", "megatron_per_split", "megatron_bridge", "nemo_automodel", "ml_dist_gen"]


@pytest.fixture
def mixture(tmp_path):
    """A mixture as `propose` leaves it, at the cap of web."""
    path = tmp_path / "optimal_mixture.yaml"
    epochs = {"web": 4.0, "code": 1.5, "math": 0.1, "old": 0.0}
    extra = {"model_name": "proxymix", "budget": 1_000_003, "max_epochs": 4.0, "epochs": epochs}
    Mixture(WEIGHTS, extra).write(path, ["web"])
    return path


@pytest.fixture
def exported(mixture, tmp_path):
    def write(to, **more):
        out = tmp_path / f"{to}.out"
        export(mixture, to, out=out, **more)
        return out

    return write


def write_table_of(path, counts):
    """domains.csv of domain -> (tokens, documents)."""
    tokens, documents = zip(*counts.values(), strict=True)
    Domains(tuple(counts), np.array(tokens), np.array(documents), np.zeros(len(counts))).write(path)


def content(path):
    return yaml.safe_load(path.read_text())


# Every format


def test_the_flag_knows_every_format():
    assert list(get_args(To)) == ALL


def test_help_says_of_every_format_what_it_is(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    told = capsys.readouterr().out
    assert all(f"\n{name}: " in told for name in ALL)


def test_a_new_format_is_one_entry_and_goes_from_the_mixture_to_the_file_and_back(mixture, tmp_path, monkeypatch):
    toy = TrainerFormat(
        key="toy",
        label="Toy",
        help="lines of domain, weight and path.",
        meaning="Weights are shares of documents (toy/data.py).",
        write=lambda blend: "".join(f"{s.domain} {s.weight!r} {s.paths[0]}\n" for s in blend.sources),
        read=lambda text, path: [(d, float(w)) for d, w, _ in map(str.split, text.splitlines())],
        pattern="toys/{domain}",
        units=("documents",),
        has_comments=False,
    )
    monkeypatch.setitem(FORMATS, toy.key, toy)
    write_table_of(tmp_path / "d.csv", {"web": (1000, 10), "code": (2000, 5), "math": (100, 1)})
    export(mixture, "toy", out=tmp_path / "toy.txt", domains=tmp_path / "d.csv")
    assert (tmp_path / "toy.txt").read_text().startswith("web 0.9032") and "old" not in (
        tmp_path / "toy.txt"
    ).read_text()
    back = read_export(tmp_path / "toy.txt", "toy", domains=tmp_path / "d.csv")
    assert back == pytest.approx({"web": 0.69998, "code": 0.3, "math": 2e-5}, rel=1e-12)


def test_a_format_that_is_not_there_is_named_with_the_nearest(mixture):
    with pytest.raises(InputError, match=r"'megatrn' is none of .*did you mean megatron\?"):
        export(mixture, "megatrn")


@st.composite
def mixtures(draw):
    count = draw(st.sampled_from([1, 2, 3, 5, 17, 64]))
    weight = st.sampled_from([0.0, 1e-9, 2e-4, 2e-5, 1 / 3]) | st.floats(1e-9, 1)
    raw = draw(st.lists(weight, min_size=count, max_size=count))
    raw[draw(st.integers(0, count - 1))] = 1.0
    total = math.fsum(raw)
    return {name: w / total for name, w in zip(NAMES, raw, strict=False)}


@pytest.mark.parametrize("to", ALL)
@given(weights=mixtures(), several=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_reading_an_export_gives_the_weights_back(to, weights, several, seed):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        Mixture(weights, {"budget": 10**9}).write(folder / "m.yaml")
        write_table_of(folder / "domains.csv", {d: (rng.randint(1, 10**12), rng.randint(1, 10**6)) for d in weights})
        paths = None
        if several and to not in ("regmix", "litgpt"):
            lines = [{"lang": d, "path": f"/d/{d}/{i}.jsonl", "gemma-3-tok": i} for d in weights for i in range(1, 4)]
            (folder / "paths.jsonl").write_text("\n".join(map(json.dumps, lines)))
            paths = [str(folder / "paths.jsonl")]
        more = {"paths": paths, "domains": folder / "domains.csv" if to not in ("olmo_core", "olmix") else None}
        export(folder / "m.yaml", to, out=folder / "out", **more)
        back = read_export(folder / "out", to, **more)
    drawn = {domain: weight for domain, weight in weights.items() if weight > 0}
    assert {domain for domain, weight in back.items() if weight > 0} == set(drawn)
    for domain, weight in drawn.items():  # OLMo-core's ratios are multiples of 2**-53, so that they sum to 1 exactly
        assert abs(back[domain] - weight) < (1e-14 if to == "olmo_core" else 1e-12 * weight)


@pytest.mark.parametrize("to", ALL)
def test_stdout_and_file_are_the_same_bytes_and_say_what_the_weights_mean_and_by_whose_word(
    to, exported, mixture, capsys
):
    """Where the file can hold no comment, stderr says it."""
    text = exported(to).read_text()
    told = text if FORMATS[to].has_comments else capsys.readouterr().err
    assert f"optimal_mixture.yaml for {to}" in told and ".py" in told
    capsys.readouterr()
    export(mixture, to)
    assert capsys.readouterr().out == text


@pytest.mark.parametrize("to", [name for name in ALL if not FORMATS[name].keeps_zeros])
def test_a_domain_of_weight_zero_is_named_as_left_out_and_stands_nowhere_else(to, exported, capsys):
    text = exported(to).read_text()
    told = text + capsys.readouterr().err
    assert "weight is 0: old" in " ".join(told.split())
    assert "/old" not in text and "old:" not in text


@pytest.mark.parametrize("to", ALL)
def test_no_number_is_text_to_a_reader_of_yaml_1_1(to, exported):
    """To which 2e-05 is text and 2.0e-05 a number; Python and JSON know better."""
    body = re.sub(r"(?m)^#.*$", "", exported(to).read_text())
    assert to in ("litgpt", "olmo_core", "torchtitan") or "2.0e-05" in body
    assert to == "torchtitan" or not re.search(r"(?<![\w.])\d+e-\d", body)


def test_a_baseline_and_a_regmix_file_of_any_numbers_are_exported_too(tmp_path):
    (tmp_path / "n1.yaml").write_text("train:\n  train_web: 1\n  train_code: 0\nvalid:\n  valid_web: 1.0\n")
    export(tmp_path / "n1.yaml", "megatron", out=tmp_path / "line")
    assert (tmp_path / "line").read_text() == "--data-path 1.0 data/web_text_document\n"


# RegMix, litgpt


def test_regmix_finds_its_three_keys_all_domains_and_a_model_that_it_knows(exported):
    config = content(exported("regmix"))
    assert config == {
        "train": {"train_web": 0.69998, "train_code": 0.3, "train_math": 2e-5, "train_old": 0.0},
        "valid": {"valid_web": 1.0},
        "model_name": "tinyllama_1_1b",
    }


def test_regmix_is_told_of_names_that_begin_alike(tmp_path, capsys):
    Mixture({"web": 0.5, "web_en": 0.5}).write(tmp_path / "m.yaml")
    export(tmp_path / "m.yaml", "regmix")
    assert "so web takes web_en's files too; rename them" in capsys.readouterr().err


def test_litgpt_itself_reads_the_config_and_builds_the_data_with_the_mixture(tmp_path, monkeypatch):
    import jsonargparse
    from litgpt.pretrain import setup
    from proxies import write_tokens

    write_tokens(tmp_path / "tokens", dict.fromkeys(WEIGHTS, 40_000))
    Mixture(WEIGHTS, {"budget": 65_536}).write(tmp_path / "optimal_mixture.yaml")
    monkeypatch.chdir(tmp_path)
    export(Path("optimal_mixture.yaml"), "litgpt", out=Path("pretrain.yaml"))
    parser = jsonargparse.ArgumentParser()
    parser.add_function_arguments(setup)
    parser.add_argument("--config", action="config")
    made = parser.instantiate_classes(parser.parse_args(["--config=pretrain.yaml", "--model_name=pythia-14m"]))
    made.data.connect(batch_size=4, max_seq_length=64)
    made.data.setup()
    assert {name for name, weight in made.data.weights.items() if weight > 0} == {"web", "code", "math"}
    assert made.data.weights["math"] == 2e-5 and made.data.train_tokens == made.train.max_tokens == 65_536
    assert made.train.global_batch_size == 512  # what the file does not say stays litgpt's


def test_litgpt_reads_the_mixture_beside_the_config_when_started_elsewhere(mixture, exported, tmp_path, monkeypatch):
    text = exported("litgpt").read_text().replace(str(tmp_path) + "/", "")
    (tmp_path / "moved.yaml").write_text(text)
    monkeypatch.chdir("/")
    assert read_export(tmp_path / "moved.yaml", "litgpt")["math"] == 2e-5


def test_litgpt_needs_a_budget(tmp_path, capsys):
    Mixture({"web": 1.0}).write(tmp_path / "m.yaml")
    out = tmp_path / "x.yaml"
    assert main(["export", "--mixture", str(tmp_path / "m.yaml"), "--to", "litgpt", "--out", str(out)]) == 2
    assert "--budget" in capsys.readouterr().err and not out.exists()
    export(tmp_path / "m.yaml", "litgpt", out=out, budget=1000, paths=["shards"])
    assert content(out)["data"]["init_args"]["tokens"] == "shards"


# Megatron and its kin


def megatron_blend(parts):
    """Even-numbered lists whose every other entry is a number are weights and prefixes; all else is prefixes."""
    if len(parts) % 2:
        return [p.strip() for p in parts], None
    weights = [float(w) for w in parts[::2]]
    return [p.strip() for p in parts[1::2]], weights


BLEND = (["data/web_text_document", "data/code_text_document", "data/math_text_document"], [0.69998, 0.3, 2e-5])


def test_megatrons_command_line_takes_the_line(exported):
    flag, *parts = shlex.split(exported("megatron").read_text())
    assert flag == "--data-path" and megatron_blend(parts) == BLEND


def test_the_shell_keeps_a_path_with_spaces_in_one_piece(exported):
    line = exported("megatron", paths=["/my data/{domain}"]).read_text()
    argv = subprocess.run(["bash", "-c", f"printf '%s\\n' {line.strip()}"], capture_output=True, text=True, check=True)
    assert megatron_blend(argv.stdout.splitlines()[1:])[0] == ["/my data/web", "/my data/code", "/my data/math"]


def test_megatron_takes_the_arguments_file(exported):
    assert megatron_blend(exported("megatron_args_file").read_text().split()) == BLEND


def test_megatron_takes_the_json_of_splits(exported):
    splits = json.loads(exported("megatron_per_split").read_text())
    blends = [
        splits[name] if splits[name] is None else megatron_blend(splits[name]) for name in ("train", "valid", "test")
    ]
    assert blends == [BLEND, None, None]


def test_megatron_bridge_takes_the_blend_with_its_split(exported):
    dataset = content(exported("megatron_bridge"))["dataset"]
    assert tuple(dataset["blend"]) == BLEND and dataset["split"] == "9999,8,2"


def test_automodel_takes_the_paths(exported):
    dataset = content(exported("nemo_automodel"))["dataset"]
    assert megatron_blend(dataset["paths"]) == BLEND and all(isinstance(p, str) for p in dataset["paths"])


def test_a_path_that_megatrons_file_would_break_in_two_is_refused(exported, tmp_path):
    with pytest.raises(InputError, match="has a space"):
        exported("megatron_args_file", paths=["/my data/{domain}"])
    with pytest.raises(InputError, match="begins or ends with a space"):
        exported("megatron_per_split", paths=["/data/{domain} "])
    assert not (tmp_path / "megatron_args_file.out").exists()


def test_ml_dist_gens_line_splits_a_groups_share_over_its_datasets_by_tokens(tmp_path, exported):
    rows = [
        {"lang": "code", "dataset": "b", "gemma-3-tok": 30, "path": "data_tok/code/b"},
        {"lang": "web", "dataset": "x", "gemma-3-tok": 5, "path": "data_tok/web"},
        {"lang": "code", "dataset": "a", "gemma-3-tok": 10, "path": "data_tok/code/a"},
        {"lang": "math", "dataset": "m", "gemma-3-tok": 1, "path": "data tok/math"},
    ]
    (tmp_path / "data.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, rows)) + "\n")
    line = exported("ml_dist_gen", paths=[str(tmp_path / "data.jsonl")]).read_text()
    shares = dict(zip(*[iter(reversed(shlex.split(line)))] * 2, strict=True))
    expected = {"data_tok/web": 0.69998, "data_tok/code/b": 0.225, "data_tok/code/a": 0.075, "data tok/math": 2e-5}
    assert {path: float(share) for path, share in shares.items()} == pytest.approx(expected, rel=1e-15)


# Ai2's


def olmo_core_sources(path):
    """Exactly these keys, a ratio in (0, 1], repetition from 1, paths; the ratios sum to 1."""
    sources = content(path)["sources"]
    for source in sources:
        assert set(source) == {"source_name", "target_ratio", "max_repetition_ratio", "paths"}
        assert isinstance(source["target_ratio"], float) and 0 < source["target_ratio"] <= 1
        assert source["max_repetition_ratio"] >= 1 and source["paths"]
    assert np.allclose(np.sum([source["target_ratio"] for source in sources]), 1.0)
    return sources


@given(weights=mixtures(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_olmo_cores_ratios_sum_to_exactly_one_however_they_are_added(weights, seed):
    ratios = exact_ratios([weight for weight in weights.values() if weight > 0])
    random.Random(seed).shuffle(ratios)
    running = list(itertools.accumulate(ratios))[-1]
    assert running == sum(ratios) == math.fsum(ratios) == float(np.sum(ratios)) == 1.0
    assert min(ratios) > 0


def test_olmo_core_takes_the_source_mixture(exported):
    sources = olmo_core_sources(exported("olmo_core", paths=["web=a.npy", "web=b.npy", "/d/{domain}/*.npy"]))
    assert [source["source_name"] for source in sources] == ["web", "code", "math"]
    assert [source["paths"] for source in sources] == [["a.npy", "b.npy"], ["/d/code/*.npy"], ["/d/math/*.npy"]]


def test_a_mixture_at_its_cap_is_not_refused_by_olmo_core_for_a_token_of_rounding(tmp_path):
    for tokens in (99_991, 250_007, 1_000_003):
        budget = 4 * tokens + 400_000
        counts = {"web": (tokens, 1), "code": (400_000, 1)}
        write_table_of(tmp_path / "d.csv", counts)
        web = 4 * tokens / budget
        Mixture({"web": web, "code": 1 - web}, {"budget": budget, "max_epochs": 4.0}).write(tmp_path / "m.yaml")
        export(tmp_path / "m.yaml", "olmo_core", out=tmp_path / "o.yaml", domains=tmp_path / "d.csv")
        for source, (available, _) in zip(olmo_core_sources(tmp_path / "o.yaml"), counts.values(), strict=True):
            assert int(budget * source["target_ratio"]) <= int(available * source["max_repetition_ratio"])
            assert source["max_repetition_ratio"] < 4.01


def test_a_mixture_that_repeats_too_much_is_refused_before_olmo_core_does(mixture, capsys):
    assert main(["export", "--mixture", str(mixture), "--to", "olmo_core", "--max_epochs", "3"]) == 2
    assert "web is read 4 times, more than max_epochs 3" in capsys.readouterr().err


def test_olmix_takes_the_data_and_mix_sections(exported):
    config = content(exported("olmix"))
    names = [source["name"] for source in config["data"]["sources"]]
    assert names == list(config["mix"]) == ["web", "code", "math"]
    assert all(set(source) == {"name", "paths"} for source in config["data"]["sources"])
    assert config["mix"]["web"] == {"weight": 0.69998, "repetition_factor": 4.001}
    assert config["mix"]["math"] == {"weight": 2e-5, "repetition_factor": 4.0}


def test_olmixs_nested_mix_multiplies_down_to_the_leaves():
    mix = {
        "dclm": {"weight": 0.8, "code": {"weight": 0.625, "repetition_factor": 1.0}, "rest": 0.375},
        "wiki": {"weight": 0.2, "repetition_factor": 2.0},
    }
    assert flatten_mix(mix) == pytest.approx({"dclm:code": 0.5, "dclm:rest": 0.3, "wiki": 0.2})


# The others


def test_litdata_takes_the_weights_only_without_going_over_all(exported):
    arguments = content(exported("litdata"))
    assert set(arguments) == {"datasets", "weights", "seed", "iterate_over_all"}
    assert arguments["iterate_over_all"] is False and arguments["weights"] == [0.69998, 0.3, 2e-5]
    assert [d["input_dir"] for d in arguments["datasets"]] == ["data/web", "data/code", "data/math"]


def test_llm_foundry_takes_the_streams_all_with_a_proportion_and_shuffles(exported):
    dataset = content(exported("llm_foundry", paths=["web=s3://b/web", "web=s3://b/web2", "/mds/{domain}"]))
    dataset = dataset["train_loader"]["dataset"]
    assert dataset["shuffle"] is True
    for stream in dataset["streams"].values():
        assert set(stream) in ({"local", "proportion"}, {"remote", "proportion"})
    assert [s["proportion"] for s in dataset["streams"].values()] == [0.34999, 0.34999, 0.3, 2e-5]
    assert len({s.get("local", s.get("remote")) for s in dataset["streams"].values()}) == 4


def test_nanotron_takes_a_weight_a_folder_and_a_stage_from_step_one(exported):
    (stage,) = content(exported("nanotron", paths=["tokens/{domain}"]))["data_stages"]
    assert stage["start_training_step"] == 1 and set(stage) == {"name", "start_training_step", "data"}
    dataset = stage["data"]["dataset"]
    assert dataset == {
        "dataset_folder": ["tokens/web", "tokens/code", "tokens/math"],
        "dataset_weights": [0.69998, 0.3, 2e-5],
    }


def levanter_counts(data):
    """Whole sequences of a block: rounded down, what is left over to the largest."""
    weights = data["train_weights"]
    assert set(weights) <= set(data["components"]) and data["mixture_block_size"] < 2**16
    counts = {
        name: int(weight / sum(weights.values()) * data["mixture_block_size"]) for name, weight in weights.items()
    }
    counts[max(counts, key=counts.get)] += data["mixture_block_size"] - sum(counts.values())
    return counts


def test_levanter_draws_every_domain_that_its_blocks_can_hold(tmp_path, capsys):
    weights = {"web": 0.9989, "code": 0.001, "math": 0.0001 - 1e-6, "tiny": 1e-6}
    Mixture(weights).write(tmp_path / "m.yaml")
    export(tmp_path / "m.yaml", "levanter", out=tmp_path / "l.yaml")
    data = content(tmp_path / "l.yaml")["data"]
    counts = levanter_counts(data)
    assert counts["code"] / data["mixture_block_size"] == pytest.approx(0.001, rel=0.05)
    assert counts["math"] == 3 and counts["tiny"] == 0
    assert "Never drawn" in capsys.readouterr().err
    assert data["components"]["web"] == {"source": {"type": "url", "train_urls": ["data/web/*.jsonl"]}}


def test_torchtitan_runs_the_module_and_gets_a_packed_dataset_a_domain(exported, monkeypatch):
    class Call:
        def __init__(self, **arguments):
            self.__dict__.update(arguments)

    names = ["ConcatThenSplitPackingConfig", "DatasetMixConfig", "SingleDatasetConfig", "WeightedDataset"]
    data = types.ModuleType("data")
    for name in names:
        setattr(data, name, type(name, (Call,), {}))
    data.IndexedJsonlSource = types.SimpleNamespace(Config=Call)
    text = types.ModuleType("text_datasets")
    text.TextProcessor = types.SimpleNamespace(Config=Call)
    for name in ("torchtitan", "torchtitan.components", "torchtitan.hf_datasets"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchtitan.components.data", data)
    monkeypatch.setitem(sys.modules, "torchtitan.hf_datasets.text_datasets", text)
    module: dict = {}
    exec(exported("torchtitan", paths=["web=a.jsonl", "web=b.jsonl", "d/{domain}.jsonl"]).read_text(), module)
    mixed = module["mixture"].datasets
    assert [item.weight for item in mixed] == [0.69998, 0.3, 2e-5]
    assert all(type(item.dataset).__name__ == "ConcatThenSplitPackingConfig" for item in mixed)
    assert [item.dataset.dataset.source.patterns for item in mixed] == [
        ("a.jsonl", "b.jsonl"),
        ("d/code.jsonl",),
        ("d/math.jsonl",),
    ]


def test_interleaved_documents_add_up_to_the_mixtures_tokens(exported, tmp_path):
    write_table_of(tmp_path / "d.csv", {"web": (1000, 10), "code": (2000, 5), "math": (100, 1)})
    out = exported("huggingface", domains=tmp_path / "d.csv")
    arguments = content(out)
    assert "shares of documents" in out.read_text()
    chances = arguments["probabilities"]
    np.random.default_rng(0).choice(3, p=chances)  # which must sum to 1
    tokens = np.array(chances) * [100, 400, 100]
    np.testing.assert_allclose(tokens / tokens.sum(), [0.69998, 0.3, 2e-5], rtol=1e-12)
    assert list(arguments["datasets"]) == ["web", "code", "math"]
    assert arguments["datasets"]["web"]["path"] == "json" and arguments["stopping_strategy"] == "all_exhausted"


def test_without_document_lengths_the_file_and_stderr_warn_that_shares_are_of_tokens(exported, tmp_path, capsys):
    (tmp_path / "d.csv").write_text("domain,tokens\nweb,1\ncode,2\nmath,3\n")
    for domains in (None, tmp_path / "d.csv"):
        out = exported("huggingface", domains=domains)
        assert "CAUTION: these are shares of TOKENS" in out.read_text() and "--domains" in capsys.readouterr().err
        assert content(out)["probabilities"] == [0.69998, 0.3, 2e-5]


def test_rows_that_are_packed_blocks_and_items_that_are_documents_can_be_said(exported, tmp_path):
    write_table_of(tmp_path / "d.csv", {d: (10 * (i + 1), 1) for i, d in enumerate(WEIGHTS)})
    assert content(exported("huggingface", samples="blocks", domains=tmp_path / "d.csv"))["probabilities"][1] == 0.3
    out = exported("litdata", samples="documents", domains=tmp_path / "d.csv")
    assert content(out)["weights"][1] < 0.3
    assert read_export(out, "litdata", domains=tmp_path / "d.csv", samples="documents")["code"] == pytest.approx(0.3)
    with pytest.raises(InputError, match="olmo_core draws blocks of tokens only"):
        exported("olmo_core", samples="documents")


def test_hugging_face_loads_files_by_their_suffix_and_anything_else_by_name(exported):
    datasets = content(exported("huggingface", paths=["web=a.json.gz", "code=org/name", "math=m.parquet"]))["datasets"]
    assert [d["path"] for d in datasets.values()] == ["json", "org/name", "parquet"]
    assert "data_files" not in datasets["code"] and datasets["math"]["data_files"] == ["m.parquet"]
    with pytest.raises(InputError, match="cannot be one dataset"):
        exported("huggingface", paths=["web=a.json", "web=b.parquet", "{domain}"])


# Files


def test_the_mixture_itself_is_not_overwritten(mixture):
    before = mixture.read_bytes()
    for to in ("regmix", "litgpt"):
        with pytest.raises(InputError, match="is the mixture itself"):
            export(mixture, to, out=mixture)
    assert mixture.read_bytes() == before


def test_a_study_fills_the_mixture_the_lengths_and_the_budget(mixture, tmp_path, capsys):
    write_table_of(tmp_path / "domains.csv", {d: (10**6 * (i + 1), 10) for i, d in enumerate(WEIGHTS)})
    assert main(["export", "--study", str(tmp_path), "--to", "huggingface"]) == 0
    assert "shares of documents" in capsys.readouterr().out
    assert main(["export", "--study", str(tmp_path), "--to", "olmo_core"]) == 0
    assert f"{tmp_path}/tokens/train/code/*.ds" in capsys.readouterr().out


# Paths


@pytest.mark.parametrize("to", PREFIXED)
def test_a_share_is_split_over_paths_by_tokens_when_they_are_known_and_evenly_when_not(to, exported, tmp_path, capsys):
    write_yaml(tmp_path / "p.yaml", {"web": {"/a": 30, "/b": 10, "/empty": 0}, "code": ["/c", "/d"], "math": "/m"})
    out = exported(to, paths=[str(tmp_path / "p.yaml")])
    told = " ".join((out.read_text() + capsys.readouterr().err).split())
    assert "by their tokens" in told and "evenly" in told
    pairs = dict(FORMATS[to].read(out.read_text(), out))
    expected = {"/a": 0.524985, "/b": 0.174995, "/c": 0.15, "/d": 0.15, "/m": 2e-5}
    assert pairs == pytest.approx(expected, rel=1e-15)
    assert read_export(out, to, paths=[str(tmp_path / "p.yaml")])["web"] == pytest.approx(0.69998, rel=1e-15)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["web=/w", "cod=/c", "math=/m"], "cod= names no domain of"),
        (["{domain}.bin", "cod=/c"], "did you mean code?"),
        (["web=/w", "math=/m"], "no path for code, which has a weight"),
        (["web=/w", "code=/w", "math=/m"], "/w is there for web and for code"),
        (["/same/{domain}", "web=/same/code"], "/same/code is the path of web and of code"),
        (["a/{domain}", "b/{domain}"], "two patterns"),
        (["/just/a/folder"], "no pattern with {domain}, no DOMAIN=PATH"),
        (["missing.yaml"], "missing.yaml: no such file"),
        (["web=/w", "web=/w", "{domain}"], "is there twice for web"),
    ],
)
def test_wrong_paths_are_named(items, message, mixture, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert main(["export", "--mixture", str(mixture), "--to", "megatron", "--out", str(out), "--paths", *items]) == 2
    assert message in capsys.readouterr().err and not out.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"path": "/x"}', "p.jsonl:1: the keys domain (or lang) and path are needed; found path"),
        ("[1]", "p.jsonl:1: a JSON object is wanted"),
        ("{", "p.jsonl:1: not JSON"),
        ('{"lang": "web", "path": "/x", "x-tok": true}', "p.jsonl:1: x-tok is True"),
        ('{"lang": "web", "path": 3}', "p.jsonl:1: 3 is no path"),
    ],
)
def test_a_wrong_line_of_paths_is_named(line, message, mixture, tmp_path):
    (tmp_path / "p.jsonl").write_text(line + "\n")
    with pytest.raises(InputError) as error:
        export(mixture, "megatron", paths=[str(tmp_path / "p.jsonl")])
    assert message in str(error.value)


def test_our_shards_are_found_beside_the_mixture(mixture, exported):
    folders = content(exported("nanotron"))["data_stages"][0]["data"]["dataset"]["dataset_folder"]
    assert folders[0] == f"{mixture.parent}/tokens/train/web"


def test_paths_of_no_use_are_refused(exported):
    with pytest.raises(InputError, match="RegMix's file holds no paths"):
        exported("regmix", paths=["{domain}"])
    with pytest.raises(InputError, match="one folder of token shards"):
        exported("litgpt", paths=["{domain}"])


# Reading what is not there


@pytest.mark.parametrize("to", ALL)
def test_a_file_of_another_format_is_no_export(to, tmp_path):
    for text in ("", "a: [1]\n", "{", "0.5 x 0.5\n", "x = 1\n"):
        (tmp_path / "f").write_text(text)
        with pytest.raises(InputError):
            read_export(tmp_path / "f", to)


def test_a_path_of_nobody_is_named(exported):
    out = exported("megatron", paths=["elsewhere/{domain}"])
    with pytest.raises(InputError, match=r"elsewhere/web is no domain's path and is not like data/\{domain\}_text"):
        read_export(out, "megatron")


def test_a_domain_that_the_table_lacks_is_named_with_the_nearest(mixture, tmp_path):
    (tmp_path / "d.csv").write_text("domain,tokens,documents\nweb,10,1\ncodes,10,1\nmath,10,1\n")
    with pytest.raises(InputError, match=r"no row for code, which has weight 0\.3; did you mean codes"):
        export(mixture, "huggingface", domains=tmp_path / "d.csv")
    (tmp_path / "d.csv").write_text("domain,tokens,documents\nweb,10,1\ncode,10,0\nmath,10,1\n")
    with pytest.raises(InputError, match="no mean document length"):
        export(mixture, "huggingface", domains=tmp_path / "d.csv")


def test_what_a_foreign_mixture_says_of_epochs_and_budget_is_passed_over_where_it_is_no_number(tmp_path):
    path = tmp_path / "mixture.yaml"
    Mixture({"web": 0.5, "code": 0.5}, {"epochs": {"web": "many"}, "max_epochs": "few", "budget": math.inf}).write(path)
    export(path, "olmo_core", out=tmp_path / "sources.yaml")
    assert [source["max_repetition_ratio"] for source in content(tmp_path / "sources.yaml")["sources"]] == [4.0, 4.0]
    with pytest.raises(InputError, match="no budget in it"):
        export(path, "litgpt")


def test_what_was_written_is_said_last(exported, capsys):
    out = exported("megatron_bridge")
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"Written: {out}, 3 domains for Megatron-Bridge: ")


def test_weight_on_a_domain_without_tokens_is_refused(exported, tmp_path):
    write_table_of(tmp_path / "domains.csv", {"web": (5, 1), "code": (0, 0), "math": (5, 1), "old": (0, 0)})
    with pytest.raises(InputError, match=r"domains\.csv: code has no tokens, and weight 0\.3"):
        exported("olmo_core", domains=tmp_path / "domains.csv")
    assert not (tmp_path / "olmo_core.out").exists()


def test_epochs_go_by_the_whole_corpus_where_those_on_disk_are_a_sample(exported, tmp_path, capsys):
    rows = "".join(f"{name},100,300000\n" for name in WEIGHTS)
    (tmp_path / "domains.csv").write_text("domain,tokens,available_tokens\n" + rows)
    sources = content(exported("olmo_core", domains=tmp_path / "domains.csv"))["sources"]
    assert {source["max_repetition_ratio"] for source in sources} == {4.0}
    assert "are a sample of the corpus; --paths names where all of it lies" in capsys.readouterr().err
    exported("olmo_core", domains=tmp_path / "domains.csv", paths=["/all/{domain}/*.npy"])
    assert "sample" not in capsys.readouterr().err


def test_an_exported_file_is_read_by_the_projects_reader(exported):
    """Merge keys are followed, and a name that is there twice is an error."""
    path = exported("levanter")
    text = path.read_text()
    path.write_text(text.replace("train_weights:\n", "train_weights: &all\n") + "copy:\n  <<: *all\n")
    assert read_export(path, "levanter")["code"] == 0.3
    path.write_text(text.replace("    code: 0.3\n", "    code: 0.3\n    code: 0.4\n"))
    with pytest.raises(InputError, match=r"levanter\.out.*code"):
        read_export(path, "levanter")
