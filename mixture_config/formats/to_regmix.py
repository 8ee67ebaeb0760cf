"""RegMix's own trainer (sail-sg/regmix): a mixture YAML."""

from pathlib import Path

from mixture_config.files.mixture import Mixture, train_column, valid_column
from mixture_config.formats.trainer_format import Blend, Entries, TrainerFormat, as_yaml
from proxymix.messages import some
from proxymix.progress import say


def _write(blend: Blend) -> str:
    names = list(blend.weights)
    clashes = [(a, b) for a in names for b in names if a != b and b.startswith(a)]
    if clashes:
        listed = some([f"{a} takes {b}'s files too" for a, b in clashes], 3)
        say(f"regmix: its trainer reads train_DOMAIN*, so {listed}; rename them")
    model = str(blend.extra.get("model_name", ""))
    content = {
        "train": {train_column(domain): weight for domain, weight in blend.weights.items()},
        "valid": blend.extra.get("valid") or {valid_column(domain): 1.0 for domain in names},
        "model_name": model if model.startswith("tinyllama") else "tinyllama_1_1b",  # its trainer knows no others
    }
    return as_yaml(blend, content)


def _read(text: str, path: Path) -> Entries:
    return list(Mixture.read(path).weights.items())


REGMIX = TrainerFormat(
    key="regmix",
    label="RegMix",
    help="RegMix's mixture YAML, for --data_yaml_file of its pretrain/tinyllama.py; 0 stays in.",
    meaning="train_<domain> is the share of samples; RegMix normalises the shares and never draws 0 "
    "(sail-sg/regmix, model_training/pretrain/tinyllama.py). It reads all files whose names begin with the key.",
    write=_write,
    read=_read,
    takes_paths="none",
    keeps_zeros=True,
)
