"""domains.csv -> mixtures to train proxies on: draws around the prior within what the data can feed.

python mixture_config/synthesize.py --domains domains.csv --num_mixtures 512 --seed 42 --out DIR
"""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mixture_config.design.designs import draw_design, sampling_center
from mixture_config.design.heuristics import baseline_weights
from mixture_config.design.references import NAMES, check_names, reference_mixtures, weights_of
from mixture_config.design.sampler_settings import Design, Preset, SamplerSettings
from mixture_config.design.sampling import Draw
from mixture_config.files.sweep_files import (
    DOMAINS_HASH,
    ExistingSweep,
    SweepMixtures,
    check_folders,
    is_whole,
    remove_beyond,
    sizes_drawn,
)
from mixture_config.geometry.constraints import limits_of
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import epoch_bounds
from proxymix.errors import InputError
from proxymix.files import remove
from proxymix.messages import some, study_of
from proxymix.progress import say
from proxymix.schemas import Domains

MAX_MIXTURES = 1_000_000  # more than anyone trains; a slip such as 64e9 would fill the memory
FEW_FIT = 0.05  # if a smaller part of the draws is within the caps, those kept lean to the domains with loose caps
T = TypeVar("T")


def synthesize(
    domains: Path,
    out: Path,
    num_mixtures: int = 512,
    seed: int = 42,
    preset: Preset | None = None,
    design: Design | None = None,
    temperature: float | None = None,
    min_concentration: float | None = None,
    max_concentration: float | None = None,
    min_weight: float | None = None,
    maximum_usage: float | None = None,
    sample_multiplier: int | None = None,
    budget: int | None = None,
    max_epochs: float | None = None,
    limits: dict[str, Any] | None = None,
    groups: dict[str, list[str]] | None = None,
    include: list[str] | None = None,
    repeat_seeds: int = 1,
    around: Path | None = None,
    holdout: int = 0,
    extend: int | None = None,
    model_name: str | None = None,
) -> None:
    """Draw the mixtures that proxies are trained on: Dirichlet draws around the prior, within what the data can feed.

    Writes OUT/mixtures/n00001.yaml and so on, then OUT/mixtures.csv. If OUT holds fewer mixtures of the same settings and
    domains, they stay as they are, and only what is missing of num_mixtures is added. The default draws wider and more evenly than
    RegMix's law (--preset regmix). Over some twenty domains that law leaves most weights at zero, and one mixture in six
    is nearly a single domain; over hundreds of domains it draws little but single large ones. With the default, the same
    number of proxies leads to a better optimum (benchmarks/sampling_designs.py).

    Args:
        domains: A CSV with the columns domain and tokens, such as a study's domains.csv. Where it has available_tokens, the
            prior and the limits go by those.
        out: The folder for mixtures/, mixtures.csv, and holdout/.
        num_mixtures: How many mixtures, those of `include` among them. Fewer than 32 say nothing; RegMix takes 512. A larger
            number than before adds to a sweep; a smaller one, or another setting, draws another sweep.
        seed: The same seed and settings give the same files.
        preset: Where the settings below come from unless given: our own, or RegMix's as published.
        design: dirichlet draws at random. space_filling picks mixtures far from each other from many such draws, which
            tells more at 32 to 128 runs. around draws near the mixture that `around` names, for a second round.
            Presets: space_filling, regmix dirichlet.
        temperature: The draws average prior**temperature, renormalised: 1 is the prior, and near 0 is uniform. The more the
            domains differ in size, the lower it should be, or small domains hardly appear. Presets: 0.3, regmix 0.5.
        min_concentration: Smallest Dirichlet concentration. At 0.1 nearly all weight falls on one domain; at the number of
            domains most have some. Presets: 2, regmix 0.1.
        max_concentration: Largest Dirichlet concentration. The higher it is, the nearer mixtures stay to the center.
            Presets: 4 times the number of domains, regmix 5.
        min_weight: Smaller weights become zero, and the others multiples of it (or of the next larger number that divides
            1). A domain whose cap is below it is never drawn, so hundreds of domains need a lower one. Presets: 0.0002.
        maximum_usage: Largest weight of a domain, in multiples of its prior; 1e9 for no such cap. Presets: 15.
        sample_multiplier: Draws made for every mixture kept. Those outside the bounds are drawn again, and equal ones
            count once, so more draws mean fewer mixtures of nearly one domain. 1 keeps every draw, and scales it into the
            bounds if it is outside. Presets: 1, regmix 100.
        budget: Tokens of the final training. With it, no mixture takes more of a domain than max_epochs passes.
        max_epochs: Most passes over a domain's tokens at `budget`; 4, which costs little (arXiv:2305.16264), unless
            given.
        limits: Bounds of domains and groups, such as {code: {min: 0.1, max: 0.4}, wiki: 0.05, web: {max: 0.6}}. A plain
            number fixes a weight. A min may pass maximum_usage, but never the epochs.
        groups: Sources and their topics, for `limits`: {web: [news, forums], code: [code_*]}. A group may hold groups.
        include: Mixtures to begin with: prior, uniform, temperature, unimax, capped, vertices (every domain as far as
            its bounds allow), or a mixture's YAML. They keep to epochs and limits, not to maximum_usage.
        repeat_seeds: How often each of them is there, to be trained on as many seeds. How far these runs are apart is the
            noise floor of every target, which `fit` reports. Where nothing is included, the prior is repeated. The repeats
            count among num_mixtures.
        around: The mixture (YAML) that the design `around` draws near, such as a first round's optimal_mixture.yaml.
        holdout: Number of further mixtures from the same law, for testing a regression, in OUT/holdout/. An extension adds
            none.
        extend: Add this many mixtures to those in OUT, with their settings unless others are given, and away from them.
            No file that is there is touched, except that mixtures.csv grows.
        model_name: The model that the files name for RegMix's own trainer, tinyllama_1M unless given. Our trainer takes its
            model from its own settings.
    """
    check_folders(out)
    table = _on_disk(Domains.read(domains))

    # ---- 1. Each setting as given, else as in the sweep that is extended, else as in the preset
    older = None if extend is None else ExistingSweep.read(out, table.names)
    recorded = {} if older is None else older.settings
    budget = _first(budget, recorded.get("budget"))
    max_epochs = _first(max_epochs, recorded.get("max_epochs", 4.0))
    limits, groups = _first(limits, recorded.get("limits")), _first(groups, recorded.get("groups"))
    given = {"design": design, "temperature": temperature, "min_weight": min_weight, "maximum_usage": maximum_usage}
    given |= {"min_concentration": min_concentration, "max_concentration": max_concentration}
    given |= {"sample_multiplier": sample_multiplier}
    sampler = SamplerSettings.of(len(table), preset, given, recorded)
    include = include or (["prior"] if repeat_seeds > 1 else [])
    _check_settings(num_mixtures, holdout, seed, repeat_seeds, extend, budget, max_epochs, sampler.design, around)
    check_names(include)
    target = None if around is None else weights_of(around, table)
    settings = {
        "seed": seed,
        **sampler.recorded(),
        "model_name": _first(model_name, recorded.get("model_name", "tinyllama_1M")),
        "num_mixtures": num_mixtures,
        "preset": preset or recorded.get("preset", "proxymix"),
        DOMAINS_HASH: _domains_hash(table, [*include, *([] if around is None else [str(around)])]),
        **({} if budget is None else {"budget": budget, "max_epochs": max_epochs}),
        **{key: value for key, value in (("limits", limits), ("groups", groups), ("include", list(include))) if value},
        **({"repeat_seeds": repeat_seeds} if repeat_seeds > 1 else {}),
        **({} if around is None else {"around": Path(around).name}),
        **({"holdout": holdout} if holdout else {}),
    }

    # ---- 2. The law of the draws, and the mixtures that come before them
    tokens, temperature = table.true_tokens.astype(float), sampler.temperature
    baseline = partial(baseline_weights, tokens=tokens, temperature=temperature, budget=budget, max_epochs=max_epochs)
    try:
        bounds, loose = _bounds(table, sampler.maximum_usage, budget, max_epochs, limits or {}, groups or {})
        present = None if older is None else older.weights
        references = reference_mixtures(include, repeat_seeds, table, loose, sampler.num_steps, baseline, present)
    except InputError as error:
        raise InputError(f"{domains}: {error}") from None
    mixtures = SweepMixtures(table.names, references.steps, sampler.num_steps, settings, references.labels)
    sweep = _Sweep(
        domains, out, table, bounds, sampler, sampling_center(tokens, sampler, target), mixtures, repeat_seeds
    )

    # ---- 3. What is missing of the sweep
    if extend is not None and older is not None:
        sizes, add = [len(older) + extend], mixtures
    else:
        older, sizes = sweep.found()
        add = mixtures if older is None else replace(mixtures, steps=mixtures.steps[:0], labels=())
    for size in sizes:
        sweep.draw_to(size, older, add)
        older, add = ExistingSweep.read(out, table.names), replace(mixtures, steps=mixtures.steps[:0], labels=())
    _say_what_is_next(out, holdout if extend is None else 0)


@dataclass(frozen=True)
class _Sweep:
    """What decides which mixtures a sweep has, except for how many.

    Args:
        path: The table of domains, for messages.
        out: The sweep's folder.
        table: The domains.
        bounds: Bounds of the weights.
        sampler: How to draw.
        center: Mean of the draws, shape (num_domains,).
        mixtures: The mixtures that the sweep begins with, and the settings that its files record.
        repeat_seeds: How often each of those mixtures is there.
    """

    path: Path
    out: Path
    table: Domains
    bounds: Limits
    sampler: SamplerSettings
    center: np.ndarray
    mixtures: SweepMixtures
    repeat_seeds: int

    def found(self) -> tuple[ExistingSweep | None, list[int]]:
        """The sweep in the folder, if it is one of these settings and whole, and the sizes to which to draw."""
        wanted = int(self.mixtures.settings["num_mixtures"])
        sizes = sizes_drawn(self.out, self.mixtures)
        if not sizes or sizes[-1] > wanted:
            return None, [wanted]
        if not is_whole(self.out, self.mixtures, sizes):
            say(f"{self.out}: some of the {sizes[-1]:,} mixtures are missing or damaged; they are drawn again")
            return None, [*sizes, *([wanted] if wanted > sizes[-1] else [])]
        remove_beyond(self.out, sizes[-1])
        older = ExistingSweep.read(self.out, self.table.names)
        if DOMAINS_HASH not in older.settings:
            say(f"{self.out}: its mixtures do not record their domains; they are taken to be those of {self.path}")
        if wanted == sizes[-1]:
            say(f"{wanted:,} mixtures of these settings are there already")
            return older, []
        return older, [wanted]

    def draw_to(self, size: int, older: ExistingSweep | None, references: SweepMixtures) -> None:
        """Draw and write what is missing of `size` mixtures: the references, then further ones.

        Raises:
            InputError: If there is no room for them.
        """
        before, settings = 0 if older is None else len(older), self.mixtures.settings
        num_drawn = size - before - len(references.steps)
        num_held = int(settings.get("holdout", 0)) if older is None else len(older.held)
        present = None if older is None else np.concatenate([older.weights, older.held])
        try:
            fewest = 1 if self.repeat_seeds > 1 and older is None else 0  # repeats alone would be nothing to fit
            if num_drawn < fewest:
                each = f" ({self.repeat_seeds} of each)" if self.repeat_seeds > 1 else ""
                raise InputError(
                    f"{'num_mixtures' if older is None else 'extend'} is {size - before}, and include alone gives "
                    f"{len(references.steps)}{each}; raise the first to {len(references.steps) + fewest}"
                )
            steps, held, draw = draw_design(
                self.center, num_drawn, num_held, settings["seed"], self.sampler, self.bounds, references.steps, present
            )
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        added = references.part(np.concatenate([references.steps, steps]), before, size)
        self._say_what_to_know(added.steps, draw, older)
        if older is not None:
            added.append(self.out, older.last + 1)
            return
        added.write(self.out)
        if num_held:
            replace(added, steps=held, labels=()).write(self.out / "holdout")
        else:  # held-out mixtures of an earlier sweep would not be of this one's law
            remove(self.out / "holdout" / "mixtures.csv")
            remove(self.out / "holdout" / "mixtures")

    def _say_what_to_know(self, steps: np.ndarray, draw: Draw, older: ExistingSweep | None) -> None:
        """Say how many weights are zero, which domains are never drawn, and how tight the caps were."""
        table, sampler = self.table, self.sampler

        def named(which: np.ndarray) -> str:
            return some([name for name, yes in zip(table.names, which, strict=True) if yes])

        zeros = (steps == 0).sum(axis=1).mean()
        added = "" if older is None else f" more, {len(older) + len(steps):,} in all,"
        many = "mixture" if len(steps) == 1 else "mixtures"
        of = f"{len(table):,} domain{'' if len(table) == 1 else 's'}"
        say(f"{len(steps):,} {many}{added} of {of}; {zeros:.1f} have weight 0 in the average mixture")
        if (empty := table.true_tokens == 0).any():
            say(f"{self.path}: no tokens in {named(empty)}: weight 0 in every mixture")
        seen = steps.any(axis=0) if older is None else steps.any(axis=0) | older.weights.any(axis=0)
        if (never := ~seen & (self.bounds.upper > 0)).any():
            say(
                f"never drawn: {named(never)}; nothing will be learnt about what these domains do. Raise maximum_usage or "
                "max_concentration, lower temperature or min_weight, or draw more mixtures"
            )
        if sampler.sample_multiplier == 1 or not draw.num_drawn:  # every draw is kept
            return
        fitting = draw.num_fitting / draw.num_drawn
        if draw.num_scaled:
            say(
                f"{draw.num_scaled:,} mixtures are draws scaled into the bounds, since only {draw.num_fitting:,} of "
                f"{draw.num_drawn:,} draws kept to all of them"
            )
        elif fitting < FEW_FIT:
            say(
                f"only {fitting:.1%} of the draws kept to every cap, most of them nearly single large domains; a higher "
                f"maximum_usage ({sampler.maximum_usage:g}) or max_concentration, or sample_multiplier 1, mixes more"
            )


def _first(given: T | None, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _on_disk(table: Domains) -> Domains:
    """The domains, of which those without tokens on disk have none at all, since no proxy can train on them."""
    if table.available_tokens is None or not table.tokens.any():
        return table
    return replace(table, available_tokens=np.where(table.tokens > 0, table.available_tokens, 0))


def _domains_hash(table: Domains, include: Sequence[str]) -> str:
    """What tells apart sweeps of equal settings: the domains with their tokens, and what mixtures in files hold."""
    mixtures = [weights_of(Path(name), table).tolist() for name in include if name not in NAMES]
    content = [table.names, table.true_tokens.tolist(), mixtures]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _bounds(
    table: Domains,
    maximum_usage: float,
    budget: int | None,
    max_epochs: float,
    limits: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
) -> tuple[Limits, Limits]:
    """The bounds of the draws, and those of the reference mixtures, which do not keep to `maximum_usage`."""
    full = np.where(table.true_tokens > 0, 1.0, 0.0)
    epochs = full if budget is None else np.minimum(epoch_bounds(table.true_tokens, budget, max_epochs), full)
    usage = np.minimum(maximum_usage * table.prior, 1.0)
    bounds = limits_of(table.names, limits, groups, epochs, usage)
    return bounds, limits_of(table.names, limits, groups, epochs, np.ones(len(table)))


def _check_settings(
    num_mixtures: int,
    holdout: int,
    seed: int,
    repeat_seeds: int,
    extend: int | None,
    budget: int | None,
    max_epochs: float,
    design: Design,
    around: Path | None,
) -> None:
    """Raise an InputError for the first setting that is out of its range."""
    counts = {"num_mixtures": (num_mixtures, 1), "holdout": (holdout, 0), "seed": (seed, 0)}
    counts |= {"repeat_seeds": (repeat_seeds, 1)} | ({} if extend is None else {"extend": (extend, 1)})
    for name, (value, least) in counts.items():
        if value < least:
            raise InputError(f"{name} is {value}; a number at least {least} is wanted")
        if name != "seed" and value > MAX_MIXTURES:
            raise InputError(f"{name} is {value:.3g}; at most {MAX_MIXTURES:,} mixtures can be drawn")
    if (budget is not None and budget <= 0) or not max_epochs > 0:
        raise InputError(f"budget is {budget} and max_epochs {max_epochs}; both must be above 0")
    if (design == "around") != (around is not None):
        raise InputError(
            "design around and the mixture to draw around go together; give both or neither: --around YAML"
        )


def _say_what_is_next(out: Path, holdout: int) -> None:
    held = f", and {holdout:,} to test a regression with: {out / 'holdout' / 'mixtures.csv'}" if holdout else ""
    say(f"Written: {out / 'mixtures.csv'}, and the same as YAMLs in {out / 'mixtures'}{held}")
    study = study_of(out / "mixtures.csv")
    paths = f"--mixtures {shlex.quote(str(out / 'mixtures'))} --tokens TOKENS --out PROXIES"
    say(f"Next: proxymix sweep {paths if study is None else f'--study {shlex.quote(str(study))}'}")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(synthesize)
