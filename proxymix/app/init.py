"""A corpus -> a commented YAML for a study of it, after a look at its domains and at this machine.

proxymix init MYDATA
"""

import itertools
import json
import shlex
import zlib
from pathlib import Path

import yaml

from data_preparation.documents.corpus import MEGABYTE, corpus_files
from data_preparation.documents.reading import read_documents
from proxymix.errors import InputError
from proxymix.files import write_text
from proxymix.progress import duration, say

LOOKED_AT = 200
"""Documents of each file that are read to judge its size."""
BYTES_PER_TOKEN = 3.0
"""Roughly, with the vocabulary that is suggested."""
VOCABULARY = 4096
PROXIES = (("50k", 400_000, 128, 8, "4e-3"), ("1m", 10_000_000, 256, 16, "2e-3"))
"""Proxies to choose from: model, tokens, sequence length, batch size, learning rate."""
SEEDS = 5

TEMPLATE = """\
# A study of {named}: {num} domains, about {megabytes:,.3g} MB of text to train on.
#
#   proxymix run --config {command} --dry_run     says what would be done and how long it would take
#   proxymix run --config {command}               does it; the same command continues after any stop
#   proxymix run --study {folder}              continues it too
#
# Every key is optional, and a flag can be given instead: --train.tokens 1M. `proxymix run --help` explains all of them.

study: {study}

# The domains that were found (about, in MB of text and in tokens):
{domains}
corpus:
  path: {corpus}
  # If this text is a sample, give the true sizes, because they decide how much of a domain there is:
  # counts: domains.csv            # a CSV of domain,tokens
  # multiplier: {{{example}: 1000}}   # or how many times more there is of a domain than here

# What the mixture should be good at: `mean` (over all domains), one domain, or weights: {{{example}: 0.7, {other}: 0.3}}
objective: mean

# Tokens of your final training, and how often it may repeat a domain. Together they cap the weights.
# null assumes half of the corpus{sample}.
budget: {budget}
max_epochs: 4.0

tokenize:
  tokenizer: null        # a tokenizer.json of yours; null trains a byte-level BPE on the corpus
  vocab_size: {vocabulary}       # of the tokenizer that is trained

# One proxy is trained for each mixture: five for each domain, and at least 32. More can be added later, and those that are
# trained are kept.
synthesize:
  num_mixtures: {num_mixtures}

# How a proxy is trained. {num_proxies} proxies (with the confirmation) take on this machine, roughly:
{times}
train:
  model: {model}             # parameters without embedding and head
  tokens: {tokens:_}        # of one proxy; with fewer than some 200,000, proxies rank mixtures badly
  sequence_length: {sequence_length}
  batch_size: {batch_size}
  learning_rate: {learning_rate}

confirm:
  num_seeds: {seeds}           # fresh seeds for the proposal and for every baseline
"""


def init(corpus: Path, out: Path | None = None, study: Path | None = None, budget: int | None = None) -> None:
    """Write a commented YAML for a study of a corpus, after a look at its domains, their sizes and this machine.

    Args:
        corpus: Your corpus: train/<domain>_0.jsonl, valid/<domain>.jsonl.
        out: The YAML to write; by default it is named after the corpus, in the current folder.
        study: The folder of the study; by default studies/ and the name of the corpus.
        budget: Tokens of the final training.

    Raises:
        InputError: If the corpus cannot be read, holds fewer than two domains, or there is such a file already.
    """
    from proxymix.app.stages import MAX_CONFIRMED

    name = corpus.absolute().name
    out, study = out or Path(f"{name}.yaml"), study or Path("studies") / name
    if out.exists():
        raise InputError(f"{out}: exists already, and is not overwritten; choose another file with --out")
    files = corpus_files(corpus)
    sizes = {domain: sum(map(_text_bytes, paths)) for domain, paths in files["train"].items()}
    if len(sizes) < 2:
        raise InputError(f"{corpus}/train: one domain ({next(iter(sizes))}) leaves no mixture to choose; add others")
    num_mixtures = 8 * max(4, -(-5 * len(sizes) // 8))
    num_proxies = num_mixtures + MAX_CONFIRMED * SEEDS
    model, tokens, sequence_length, batch_size, learning_rate = PROXIES[_is_gpu_here()]
    width = max(map(len, sizes))
    rows = sorted(sizes.items(), key=lambda item: -item[1])
    lines = [
        f"#   {domain:<{width}}{size / MEGABYTE:12,.3g} MB{size / BYTES_PER_TOKEN:18,.0f} tokens"
        + ("" if files["valid"].get(domain) else "   (validation is split from it)")
        for domain, size in rows
    ]
    names = [domain for domain, _ in rows]
    text = TEMPLATE.format(
        named=_line(corpus), corpus=_yaml(corpus), study=_yaml(study), folder=_line(shlex.quote(str(study))),
        command=_line(shlex.quote(str(out))), num=len(sizes), megabytes=sum(sizes.values()) / MEGABYTE,
        domains="\n".join(lines), example=names[0], other=names[1], vocabulary=VOCABULARY,
        budget="null" if budget is None else f"{budget:_}",
        sample="; say what yours is, such as 25B" if budget is None else "", num_mixtures=num_mixtures,
        num_proxies=num_proxies, times=_times(num_proxies, len(sizes)), model=model, tokens=tokens,
        sequence_length=sequence_length, batch_size=batch_size, learning_rate=learning_rate, seeds=SEEDS,
    )  # fmt: skip
    write_text(out, text)
    print("\n".join([f"{corpus}: {len(sizes)} domains", *(line.removeprefix("#") for line in lines)]))
    say(f"Written: {out}. Look through it, then: proxymix run --config {shlex.quote(str(out))} --dry_run")


def _line(text: object) -> str:
    """A text in a line of a comment."""
    return " ".join(str(text).splitlines())


def _yaml(path: Path) -> str:
    """A path as YAML holds it, quoted where it must be."""
    return yaml.safe_dump(str(path), width=10**6).removesuffix("...\n").strip()


def _text_bytes(file: Path) -> float:
    """Bytes of the text of a file, judged by its first documents."""
    texts = [text.encode() for text in itertools.islice(read_documents(file), LOOKED_AT)]
    sample = sum(map(len, texts))
    if file.name.endswith(".parquet"):
        import pyarrow.parquet

        return float(pyarrow.parquet.ParquetFile(file).metadata.num_rows * sample / len(texts))
    lines = b"".join(json.dumps({"text": text.decode()}).encode() + b"\n" for text in texts)
    compressed = file.name.endswith((".gz", ".zst"))
    return file.stat().st_size * sample / len(zlib.compress(lines) if compressed else lines)


def _is_gpu_here() -> bool:
    from proxy_training.device.layout import num_gpus

    return num_gpus() > 0


def _times(num_proxies: int, num_domains: int) -> str:
    """How long the proxies to choose from take."""
    from proxy_training.device.calibration import expected_seconds
    from proxy_training.launch.train_runs import LAUNCHERS
    from proxy_training.runs.settings import TrainSettings

    lines = []
    for model, tokens, sequence_length, batch_size, _ in PROXIES:
        settings = TrainSettings(model=model, tokens=tokens, sequence_length=sequence_length, batch_size=batch_size)
        workers = LAUNCHERS["local"].num_workers(settings, VOCABULARY)
        seconds, _ = expected_seconds(settings, VOCABULARY, num_proxies, workers, num_domains)
        lines.append(f"#   {model:<4}{tokens:>12,} tokens   {duration(seconds)}")
    return "\n".join(lines)
