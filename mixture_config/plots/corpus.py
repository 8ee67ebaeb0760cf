"""Files of a sweep and of its domains -> what there is to draw: `Sweep` and `Corpus`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture_table import MixtureTable, mixture_files, run_key
from mixture_config.files.sweep_files import recorded_settings
from mixture_config.geometry.tolerances import FILE_ROUNDING
from proxymix.errors import InputError
from proxymix.messages import nearest, some
from proxymix.progress import say
from proxymix.schemas import Domains

MAX_EPOCHS = 4.0  # passes over a domain, unless a sweep or the caller says otherwise


@dataclass(frozen=True)
class Sweep:
    """The mixtures of a sweep.

    Attributes:
        mixtures: Their weights.
        anchors: The name of the anchor that each mixture is; "" for most.
        settings: The sampler's settings, where the mixtures' YAMLs tell.
        repeats: Rows that are an anchor again, for another seed; they have no name of their own.
    """

    mixtures: MixtureTable
    anchors: list[str]
    settings: dict[str, Any]
    repeats: tuple[int, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Sweep":
        """A sweep of whatever `MixtureTable.read` takes, with what the YAMLs beside a CSV record.

        Raises:
            InputError: If there are no mixtures, or a recorded setting is of another kind than the sampler writes.
        """
        table = MixtureTable.read(path)
        nothing = ["" for _ in table.index]
        folder = path if path.is_dir() else path.parent / "mixtures"
        files = {}
        if folder.is_dir():
            try:
                files = {run_key(file.stem): file for file in mixture_files(folder)}
            except InputError:
                if not (path / "mixtures.csv").exists():
                    raise
        if table.index[0] not in files:
            return cls(table, nothing, {})
        first = recorded_settings(files[table.index[0]])
        row = dict(zip(table.domains, table.weights[0], strict=True))
        if any(abs(first.weights.get(domain, 0.0) - weight) > FILE_ROUNDING for domain, weight in row.items()):
            say(f"{folder}: not the mixtures of {path}, so their settings and anchors are not taken from there")
            return cls(table, nothing, {})
        texts = [files[index].read_text("utf-8") if index in files else "" for index in table.index]
        repeats = tuple(i for i, text in enumerate(texts) if re.search(r"^repeat:", text, re.M))
        named = [re.search(r"^anchor: *(.+?) *$", text, re.M) for text in texts]
        anchors = [n[1].strip("'\"") if n and i not in repeats else "" for i, n in enumerate(named)]
        return cls(table, anchors, first.extra, repeats)


@dataclass(frozen=True)
class Corpus:
    """The domains in the order of the figures (the largest first), and what is known of them.

    Attributes:
        domains: Their names.
        tokens: Shape (num_domains,); None without a table of domains.
        budget: Tokens of the final training, if known.
        max_epochs: Most passes over a domain.
    """

    domains: list[str]
    tokens: np.ndarray | None
    budget: int | None
    max_epochs: float

    @property
    def prior(self) -> np.ndarray | None:
        """Token shares, shape (num_domains,)."""
        return None if self.tokens is None else self.tokens / self.tokens.sum()

    @property
    def per_epoch(self) -> np.ndarray | None:
        """Epochs of each domain at a weight of 1 (not a number where it has no tokens); None without a budget."""
        if self.tokens is None or self.budget is None:
            return None
        return self.budget / np.where(self.tokens > 0, self.tokens, np.nan)

    def weights(self, domains: Sequence[str], weights: np.ndarray) -> np.ndarray:
        """Columns named `domains` -> columns in the figures' order; a domain that is not among them has 0."""
        place = {domain: column for column, domain in enumerate(domains)}
        extended = np.append(weights, np.zeros((len(weights), 1)), axis=1)
        return extended[:, [place.get(domain, -1) for domain in self.domains]]

    def row(self, mixture: Mapping[str, float]) -> np.ndarray:
        """The weights of one mixture in the figures' order, shape (num_domains,)."""
        return self.weights(list(mixture), np.array([list(mixture.values())]))[0]


def known_corpus(
    domains: Path | None,
    sweep_path: Path | None,
    sweep: Sweep | None,
    given: Mapping[Path, Mapping[str, float]],
    budget: int | None,
    max_epochs: float,
) -> Corpus:
    """What is known of the domains of a sweep and of single mixtures.

    Args:
        domains: A table of domains, if there is one.
        sweep_path: The file or folder of `sweep`.
        sweep: The sweep, if there is one.
        given: File -> the weights of a single mixture.
        budget: Tokens of the final training; the one that the sweep was drawn for unless given.
        max_epochs: Most passes over a domain at `budget`.

    Raises:
        InputError: If the files are about different domains.
    """
    settings = {} if sweep is None else sweep.settings
    if budget is None and settings.get("budget") is not None:
        budget, max_epochs = int(settings["budget"]), float(settings.get("max_epochs", max_epochs))
    table = None if domains is None else Domains.read(domains)
    in_sweep = [] if sweep is None else sweep.mixtures.domains
    known = list(table.names) if table else in_sweep or list(dict.fromkeys(d for row in given.values() for d in row))
    sources: list[tuple[Path | None, Sequence[str]]] = [(sweep_path, in_sweep)]
    for path, names in [*sources, *((path, list(row)) for path, row in given.items())]:
        if strange := [name for name in names if name not in set(known)]:
            raise InputError(
                f"{path}: {some(strange)} {'is' if len(strange) == 1 else 'are'} not in {domains if table else sweep_path}"
                f"{nearest(strange[0], known)}; give the mixtures and the table of one corpus"
            )
    if sweep is not None and table and sweep_path is not None:
        leaves_out_zeros = sweep_path.is_dir() and not (sweep_path / "mixtures.csv").exists()
        missing = [name for name in known if name not in set(in_sweep)]
        if missing and not leaves_out_zeros:
            raise InputError(
                f"{sweep_path}: no column for {some(missing)}, of {domains}; give the mixtures and the table of one corpus"
            )
    if table:
        size = table.true_tokens.astype(float)
    else:
        say("no --domains, so nothing about the prior, bounds or epochs")
        rows = np.array([[row.get(d, 0.0) for d in known] for row in given.values()])
        size = (rows if sweep is None else sweep.mixtures.weights).mean(axis=0)
    order = np.argsort(-size, kind="stable")
    return Corpus([known[i] for i in order], size[order] if table else None, budget, max_epochs)
