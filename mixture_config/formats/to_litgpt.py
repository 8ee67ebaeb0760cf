"""Lightning AI's: litgpt with our DataModule, and litdata."""

from pathlib import Path

from mixture_config.files.mixture import Mixture
from mixture_config.formats.trainer_format import Blend, Entries, TrainerFormat, as_yaml, from_yaml
from proxymix.errors import InputError


def _write_litgpt(blend: Blend) -> str:
    if blend.budget is None:
        raise InputError(f"{blend.mixture}: no budget in it, and litgpt's data needs train_tokens; add --budget TOKENS")
    arguments = {
        "tokens": blend.sources[0].paths[0],
        "mixture": blend.mixture.as_posix(),
        "train_tokens": blend.budget,
        "seed": 42,
    }
    data = {"class_path": "proxy_training.data_module.MixtureData", "init_args": arguments}
    return as_yaml(blend, {"data": data, "train": {"max_tokens": blend.budget}})


def _read_litgpt(text: str, path: Path) -> Entries:
    named = Path(from_yaml(text, path)["data"]["init_args"]["mixture"])
    return list(Mixture.read(named if named.exists() else path.parent / named).weights.items())


LITGPT = TrainerFormat(
    key="litgpt",
    label="litgpt",
    help="a config for `litgpt pretrain --config`, with our DataModule; it names the mixture's file, needs a budget, "
    "and --paths is the folder of token shards ({study}/tokens unless given).",
    meaning="The weights are those of the file at data.init_args.mixture, shares of tokens that train_tokens meets "
    "exactly; relative paths count from where litgpt starts (proxy_training/data_module.py). Keep train_tokens and "
    "train.max_tokens the same.",
    write=_write_litgpt,
    read=_read_litgpt,
    pattern="{study}/tokens",
    takes_paths="one_folder",
    keeps_zeros=True,
)


def _write_litdata(blend: Blend) -> str:
    content = {
        "datasets": [{"input_dir": source.paths[0], "shuffle": True, "drop_last": True} for source in blend.sources],
        "weights": [source.weight for source in blend.sources],
        "seed": 42,
        "iterate_over_all": False,
    }
    usage = [
        "Use, where blocks of tokens need TokensLoader in every dataset, of one block_size:",
        "  c = yaml.safe_load(open(FILE)); loader = TokensLoader(block_size=...)",
        "  c['datasets'] = [StreamingDataset(**d, item_loader=loader) for d in c['datasets']]",
        "  dataset = CombinedStreamingDataset(**c)",
    ]
    return as_yaml(blend, content, usage)


def _read_litdata(text: str, path: Path) -> Entries:
    content = from_yaml(text, path)
    return [(d["input_dir"], float(w)) for d, w in zip(content["datasets"], content["weights"], strict=True)]


LITDATA = TrainerFormat(
    key="litdata",
    label="litdata",
    help="the arguments of litdata's CombinedStreamingDataset, as YAML.",
    meaning="weights are the chances of items, normalised by litdata, which takes them only with "
    "iterate_over_all false and ends with the first dataset that does (litdata/streaming/combined.py).",
    write=_write_litdata,
    read=_read_litdata,
    pattern="data/{domain}",
    keyed_by_path=True,
    weight_per_path=True,
    units=("blocks", "documents"),
)
