"""domains.csv -> mixtures to train proxies on: draws around the prior within what the data can feed.

python mixture_config/synthesize.py --domains domains.csv --num_mixtures 512 --seed 42 --out DIR
"""

import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from mixture_config.baseline import BASELINES, baseline_shares, temperature_shares
from mixture_config.design.sampling import Draw, draw_mixtures, grid_steps
from mixture_config.design.space_filling import NEAR, distant, space_filling
from mixture_config.files.mixture import read_mixture
from mixture_config.files.mixture_table import read_mixtures, recorded_settings
from mixture_config.geometry.constraints import limits_of
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import epoch_bounds
from proxymix.errors import InputError
from proxymix.files import read_text, remove, replacing, write_text
from proxymix.messages import nearest, some
from proxymix.progress import progress, say
from proxymix.schemas import read_domains, run_id

FEW_FIT = 0.05  # under this part of the draws within their caps, what is kept leans to the domains with loose caps
CANDIDATES = 40  # of a space-filling design, per mixture kept
FEWEST_CANDIDATES, MOST_CANDIDATES = 4000, 50_000
AWAY = 0.05  # part of the prior in the center of draws around a mixture, so that its zeros may leave zero


@dataclass(frozen=True)
class Law:
    """How mixtures are drawn."""

    design: str
    temperature: float
    min_strength: float
    max_strength: float
    minimum: float
    maximum_usage: float
    sample_multiplier: int


# In the order of Law; None where it depends on the number of domains.
PRESETS: dict[str, tuple[Any, ...]] = {
    "proxymix": ("space_filling", 0.3, None, None, 2e-4, 15.0, 1),
    "regmix": ("dirichlet", 0.5, 0.1, 5.0, 2e-4, 15.0, 100),
}
# The first draws range from a few domains to all of them, those around a mixture from a total variation of .3 to .05.
STRENGTHS: tuple[Callable[[int], float], ...] = (lambda num_domains: 2.0, lambda num_domains: 4.0 * num_domains)
AROUND_STRENGTHS: tuple[Callable[[int], float], ...] = (
    lambda num_domains: 2.0 * num_domains,
    lambda num_domains: 60.0 * num_domains,
)
LAW = tuple(field.name for field in fields(Law))
Design = Literal["dirichlet", "space_filling", "around"]


def synthesize(
    domains: Path,
    out: Path,
    num_mixtures: int = 512,
    seed: int = 42,
    preset: Literal["proxymix", "regmix"] | None = None,
    design: Design | None = None,
    temperature: float | None = None,
    min_strength: float | None = None,
    max_strength: float | None = None,
    minimum: float | None = None,
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

    Writes OUT/mixtures/n00001.yaml and so on, then OUT/mixtures.csv. The default draws wider and more evenly than
    RegMix (--preset regmix), whose sweep of some twenty domains has most weights at zero and one mixture in six
    nearly a single domain, and of hundreds of domains little but single large ones: the same number of proxies then
    leads to a better optimum (benchmarks/sampling_designs.py).

    Args:
        domains: A CSV with the columns domain and tokens, such as a study's domains.csv.
        out: The folder for mixtures/, mixtures.csv, and holdout/.
        num_mixtures: How many, those of `include` among them; 32 is the least that says anything, RegMix takes 512.
        seed: Same seed and settings, same files.
        preset: Where the settings below come from unless given: our own, or RegMix's as published.
        design: dirichlet draws at random; space_filling picks, from many such draws, mixtures far from each other,
            which tells more at 32 to 128 runs; around draws near the mixture that `around` names, for a second round.
            Presets: space_filling, regmix dirichlet.
        temperature: Draws average prior**temperature, renormalised: 1 is the prior, near 0 is uniform. The more the
            sizes of the domains differ, the lower it should be for the small ones to appear. Presets: 0.3, regmix
            0.5.
        min_strength: Smallest Dirichlet concentration: at 0.1 nearly all weight falls on one domain, at the number of
            domains most have some. Presets: 2, regmix 0.1.
        max_strength: Largest Dirichlet concentration; the higher, the nearer to the center mixtures stay. Presets:
            4 times the number of domains, regmix 5.
        minimum: Smaller weights become zero, the others multiples of it (or of the next larger number that divides 1).
            A domain whose cap is below it is never drawn; lower it for hundreds of domains. Presets: 0.0002.
        maximum_usage: Largest weight of a domain, in multiples of its prior; 1e9 for none. Presets: 15.
        sample_multiplier: Draws made for every mixture kept: those outside the bounds are drawn again, and equal ones
            count once, so more draws mean fewer nearly single-domain mixtures. 1 keeps every draw, scaled into the
            bounds where it is outside. Presets: 1, regmix 100.
        budget: Tokens of the final training; with it, no mixture takes more of a domain than max_epochs passes.
        max_epochs: Most passes over a domain's tokens at `budget`; 4, which costs little (arXiv:2305.16264), unless
            given.
        limits: Bounds of domains and groups, such as {code: {min: 0.1, max: 0.4}, wiki: 0.05, web: {max: 0.6}}; a plain
            number fixes a weight. A min may pass maximum_usage, but never the epochs.
        groups: Sources and their topics, for `limits`: {web: [news, forums], code: [code_*]}; a group may hold groups.
        include: Mixtures to begin with: prior, uniform, temperature, unimax, capped, vertices (every domain as far as
            its bounds allow), or a mixture's YAML. They keep to epochs and limits, not to maximum_usage.
        repeat_seeds: Times that each of them is there, to be trained on as many seeds: how far those runs are apart is the
            noise floor of every target, which `fit` reports. Where nothing is included, the prior is repeated. They
            count among num_mixtures.
        around: The mixture (YAML) that the design `around` draws near, such as a first round's optimal_mixture.yaml.
        holdout: Further mixtures from the same law, for testing a regression, in OUT/holdout/. An extension adds none.
        extend: Add this many mixtures to those in OUT, with their settings unless others are given, and away from them;
            no file of theirs is touched.
        model_name: The model that the files name for RegMix's own trainer, tinyllama_1M unless given; ours takes it
            from its settings.
    """
    check_folders(Path(out))
    table = read_domains(domains)
    catalogue = Catalogue([d.domain for d in table], np.array([d.tokens for d in table], dtype=float))
    present = None if extend is None else Sweep.read(Path(out), catalogue.names)
    recorded = {} if present is None else present.settings
    budget = recorded.get("budget") if budget is None else budget
    max_epochs = recorded.get("max_epochs", 4.0) if max_epochs is None else max_epochs
    model_name = recorded.get("model_name", "tinyllama_1M") if model_name is None else model_name
    limits = recorded.get("limits") if limits is None else limits
    groups = recorded.get("groups") if groups is None else groups
    given = dict(
        zip(
            LAW,
            (design, temperature, min_strength, max_strength, minimum, maximum_usage, sample_multiplier),
            strict=True,
        )
    )
    law = law_of(len(table), preset, given, recorded)
    include = include or (["prior"] if repeat_seeds > 1 else [])
    total = num_mixtures if present is None or extend is None else len(present.weights) + extend
    settings = {
        "seed": seed,
        **asdict(law),
        "model_name": model_name,
        "num_mixtures": total,
        "preset": preset or recorded.get("preset", "proxymix"),
        **({} if budget is None else {"budget": budget, "max_epochs": max_epochs}),
        **{key: value for key, value in (("limits", limits), ("groups", groups)) if value},
        **({} if not include else {"include": list(include)}),
        **({} if around is None else {"around": Path(around).name}),
        **({} if present is not None or not holdout else {"holdout": holdout}),
        **({} if present is None else {"extended_from": len(present.weights)}),
    }
    check_settings({**settings, "repeat_seeds": repeat_seeds}, max_epochs, around, extend)
    try:
        caps = catalogue.epochs(budget, max_epochs)
        usage = np.minimum(law.maximum_usage * catalogue.prior, 1.0)
        bounds = limits_of(catalogue.names, limits or {}, groups or {}, caps, usage)
        loose = limits_of(catalogue.names, limits or {}, groups or {}, caps, np.ones(len(table)))
        once = anchor_steps(catalogue, include, law, loose, budget, max_epochs)
        anchors = repeated(once, repeat_seeds, grid_steps(law.minimum), len(table), present)
        drawn = total - (0 if present is None else len(present.weights)) - len(anchors)
        if drawn < (fewest := 1 if repeat_seeds > 1 and present is None else 0):  # repeats alone are nothing to fit
            raise InputError(
                f"{'num_mixtures' if present is None else 'extend'} is {drawn + len(anchors)}, and include alone gives "
                f"{len(anchors)}{f' ({repeat_seeds} of each)' if repeat_seeds > 1 else ''}; raise the first to {len(anchors) + fewest}"
            )
        center = catalogue.center(law, around)
        rng = np.random.default_rng(seed if present is None else [seed, len(present.weights)])
        steps, held, draw = draw_design(center, drawn, 0 if present else holdout, rng, law, bounds, anchors, present)
    except InputError as error:
        raise InputError(f"{domains}: {error}") from None
    steps = np.concatenate([anchors.steps, steps])
    say_what_to_know(str(domains), catalogue, bounds, steps, draw, law, present)
    if present is not None:
        present.append(Path(out), catalogue.names, steps, draw.num_steps, settings, anchors.labels)
        return
    write_sweep(Path(out), catalogue.names, steps, draw.num_steps, settings, anchors.labels)
    if holdout:
        write_sweep(Path(out) / "holdout", catalogue.names, held, draw.num_steps, settings, [])
    else:  # those of an earlier draw say nothing about this one
        remove(Path(out) / "holdout" / "mixtures.csv")
        remove(Path(out) / "holdout" / "mixtures")


@dataclass(frozen=True)
class Catalogue:
    """The domains and their token counts, shape (num_domains,)."""

    names: list[str]
    tokens: np.ndarray

    @property
    def prior(self) -> np.ndarray:
        """Token shares."""
        return self.tokens / self.tokens.sum()

    def epochs(self, budget: int | None, max_epochs: float) -> np.ndarray:
        """Largest weights that the data can feed."""
        full = np.where(self.tokens > 0, 1.0, 0.0)
        return full if budget is None else np.minimum(epoch_bounds(self.tokens, budget, max_epochs), full)

    def center(self, law: Law, around: Path | None) -> np.ndarray:
        """What mixtures are drawn around: the flattened prior, or mostly the mixture that `around` names."""
        flat = temperature_shares(self.tokens, law.temperature)
        if law.design != "around" or around is None:
            return flat
        return (1 - AWAY) * self.aligned(around) + AWAY * flat

    def aligned(self, path: Path) -> np.ndarray:
        """The weights of a mixture's YAML, in the order of the domains; those it does not name are 0."""
        weights, _ = read_mixture(path)
        for name in weights:
            if name not in self.names:
                raise InputError(f"{path}: no domain {name!r} in the table{nearest(name, self.names)}")
        row = np.array([weights.get(name, 0.0) for name in self.names])
        if (lost := (row > 0) & (self.tokens == 0)).any():
            which = some([name for name, yes in zip(self.names, lost, strict=True) if yes])
            raise InputError(f"{path}: weight on {which}, which has no tokens in the table; correct one of them")
        return row


def law_of(num_domains: int, preset: str | None, given: Mapping[str, Any], recorded: Mapping[str, Any]) -> Law:
    """Settings as given (not None), else as recorded in the sweep that is extended, else from the preset."""
    base = dict(zip(LAW, PRESETS[preset or "proxymix"], strict=True))
    values = base | ({key: recorded[key] for key in LAW if recorded.get(key) is not None} if preset is None else {})
    if given["design"] not in (None, values["design"]):
        values |= {"min_strength": base["min_strength"], "max_strength": base["max_strength"]}
    values |= {key: value for key, value in given.items() if value is not None}
    usual = AROUND_STRENGTHS if values["design"] == "around" else STRENGTHS
    for key, strength in zip(("min_strength", "max_strength"), usual, strict=True):
        if values[key] is None:
            values[key] = strength(num_domains)
    return Law(**values)


def anchor_steps(
    catalogue: Catalogue,
    include: Sequence[str],
    law: Law,
    limits: Limits,
    budget: int | None,
    max_epochs: float,
) -> dict[str, np.ndarray]:
    """The mixtures of `include` within `limits`, in its order: name -> steps of the grid, shape (num_domains,).

    Those that are the same mixture (the prior of equal domains is uniform) are there once, under the first name.

    Raises:
        InputError: If a name is no baseline, or `limits` hold no mixture on the grid.
    """
    shares: dict[str, np.ndarray] = {}
    for name in include:
        if name == "vertices":
            for i in np.flatnonzero((catalogue.tokens > 0) & (limits.upper > 0)):
                vertex = np.eye(len(catalogue.names))[i]
                shares[f"vertex {catalogue.names[i]}"] = vertex + 1e-6 * catalogue.prior
        elif Path(name).suffix in (".yaml", ".yml"):
            if Path(name).stem in shares:
                raise InputError(f"include: two mixtures are called {Path(name).stem}; rename one of the files")
            shares[Path(name).stem] = catalogue.aligned(Path(name))
        else:
            if name in shares:
                raise InputError(f"include: two mixtures are called {name}; name it once, or rename the file")
            shares[name] = baseline_shares(name, catalogue.tokens, law.temperature, budget, max_epochs)
    num_steps = grid_steps(law.minimum)
    grid = limits.on_grid(num_steps)
    anchors: dict[str, np.ndarray] = {}
    for name, row in shares.items():
        steps = grid.round(grid.fill(row[None]), num_steps)[0]
        same = next((other for other, there in anchors.items() if np.array_equal(there, steps)), None)
        if same is None:
            anchors[name] = steps
        else:
            say(f"include: {name} is the same mixture as {same} here, so it is there once")
    return anchors


@dataclass(frozen=True)
class Anchors:
    """The first rows of a sweep: steps of the grid, shape (num_rows, num_domains), and what each one's YAML ends with."""

    steps: np.ndarray
    labels: list[str]

    def __len__(self) -> int:
        return len(self.labels)


def repeated(
    anchors: Mapping[str, np.ndarray], repeat_seeds: int, num_steps: int, num_domains: int, present: "Sweep | None"
) -> Anchors:
    """Each anchor `repeat_seeds` times, all of them once before any is there twice, less those that are there.

    What tells the rows of an anchor apart is the number of the repeat, from which training has the seed.

    Raises:
        InputError: If one is there nearly, so that none would be a repeat of it.
    """
    there = dict.fromkeys(anchors, 0)
    for name, steps in anchors.items():
        if present is None:
            break
        apart = np.abs(present.weights - steps / num_steps).sum(axis=1)
        there[name] = int((apart < 1e-9).sum())
        if not there[name] and (apart < 1 / num_steps).any():  # on a coarser grid than the sweep's
            if repeat_seeds > 1:
                raise InputError(f"repeat_seeds: {name} is there on a finer grid; leave minimum as it is in the sweep")
            there[name] = 1
    rows = [(name, k) for k in range(repeat_seeds) for name in anchors if k >= there[name]]
    labels = [{"anchor": name, **({"repeat": k} if k else {})} for name, k in rows]
    steps = np.array([anchors[name] for name, _ in rows], dtype=np.int32).reshape(len(rows), num_domains)
    return Anchors(steps, [yaml.safe_dump(label, allow_unicode=True) for label in labels])


def draw_design(
    center: np.ndarray,
    num_mixtures: int,
    holdout: int,
    rng: np.random.Generator,
    law: Law,
    limits: Limits,
    anchors: Anchors,
    present: "Sweep | None",
) -> tuple[np.ndarray, np.ndarray, Draw]:
    """Steps of the mixtures and of the held-out ones, and what drawing them took."""
    num_steps = grid_steps(law.minimum)
    if num_mixtures + holdout == 0:
        nothing = np.zeros((0, len(center)), dtype=np.int32)
        return nothing, nothing, Draw(nothing, num_steps, 0, 0, 0)
    taken = anchors.steps
    if present is not None:
        taken = np.concatenate([np.rint(present.all * num_steps).astype(np.int32), taken])
    most = min(MOST_CANDIDATES, 10_000_000 // len(center))
    filling = law.design == "space_filling" and 2 * num_mixtures <= most
    num_candidates = min(max(CANDIDATES * num_mixtures, FEWEST_CANDIDATES), most) if filling else num_mixtures
    if law.design == "space_filling" and not filling:
        say(f"{num_mixtures:,} mixtures fill the space without being chosen; they are drawn at random")
    wanted = num_candidates + holdout
    spare = 0 if present is None else wanted // 4 + 16
    multiplier = min(law.sample_multiplier, 4) if filling else law.sample_multiplier
    with progress("draw mixtures", total=(wanted + spare) * multiplier, unit="draws") as bar:
        draw = draw_mixtures(
            center,
            wanted + spare,
            rng,
            limits=limits,
            min_strength=law.min_strength,
            max_strength=law.max_strength,
            minimum=law.minimum,
            sample_multiplier=multiplier,
            exclude=taken,
            fewest=holdout + num_mixtures,
            on_drawn=bar.advance,
        )
    steps = draw.steps
    if present is not None:
        steps = steps[distant(steps / num_steps, present.all)]
        if len(steps) < num_mixtures:
            raise InputError(
                f"only {len(steps)} of {len(draw.steps)} draws are {NEAR:g} (total variation) or more away from the mixtures "
                f"that are there; extend by at most {len(steps)}, or draw wider (min_strength, max_strength, temperature)"
            )
    held, steps = steps[:holdout], steps[holdout:]
    if filling:
        with progress("choose mixtures", total=num_mixtures, unit="mixtures") as bar:
            chosen = space_filling(steps / num_steps, num_mixtures, taken / num_steps, bar.advance)
        steps = steps[chosen]
    return steps[:num_mixtures], held, draw


def check_settings(settings: Mapping[str, Any], max_epochs: float, around: Path | None, extend: int | None) -> None:
    """Raise an InputError for the first setting that is out of its range."""
    if extend is not None and extend < 1:
        raise InputError(f"extend is {extend}; a number at least 1 is wanted")
    rules = {
        "num_mixtures": (1, math.inf, "at least 1"),
        "holdout": (0, math.inf, "at least 0"),
        "seed": (0, math.inf, "at least 0"),
        "temperature": (1e-6, 100, "above 0, and at most 100"),
        "min_strength": (1e-6, 1e9, "above 0"),
        "max_strength": (settings["min_strength"], 1e9, "at least min_strength"),
        "minimum": (1e-6, 1, "from 1e-6 to 1"),
        "sample_multiplier": (1, math.inf, "at least 1"),
        "repeat_seeds": (1, math.inf, "at least 1"),
        "maximum_usage": (1, math.inf, "at least 1 (the caps are multiples of the prior, which must fit below them)"),
    }
    for name, (smallest, largest, wanted) in rules.items():
        if name in settings and not smallest <= settings[name] <= largest:
            raise InputError(f"{name} is {settings[name]}; a number {wanted} is wanted")
    for name in settings.get("include", []):
        known = [*BASELINES, "vertices"]
        if name not in known and Path(name).suffix not in (".yaml", ".yml"):
            raise InputError(f"include: {name!r} is none of {', '.join(known)}, nor a YAML{nearest(name, known)}")
    if settings.get("budget", 1) <= 0 or not max_epochs > 0:
        raise InputError(f"budget is {settings.get('budget')} and max_epochs {max_epochs}; both must be above 0")
    if (settings["design"] == "around") != (around is not None):
        raise InputError(
            "design around and the mixture to draw around go together; give both or neither: --around YAML"
        )


def say_what_to_know(
    path: str, catalogue: Catalogue, bounds: Limits, steps: np.ndarray, draw: Draw, law: Law, present: "Sweep | None"
) -> None:
    """How many zeros, what is never drawn, and how tight the caps were."""

    def listed(which: np.ndarray) -> str:
        return some([name for name, yes in zip(catalogue.names, which, strict=True) if yes])

    zeros = (steps == 0).sum(axis=1).mean()
    added = "" if present is None else f" more, {len(present.weights) + len(steps):,} in all,"
    many = "mixture" if len(steps) == 1 else "mixtures"
    of = f"{len(catalogue.names):,} domain{'' if len(catalogue.names) == 1 else 's'}"
    say(f"{len(steps):,} {many}{added} of {of}; {zeros:.1f} have weight 0 in the average mixture")
    if (empty := catalogue.tokens == 0).any():
        say(f"{path}: no tokens in {listed(empty)}: weight 0 in every mixture")
    seen = steps.any(axis=0) if present is None else steps.any(axis=0) | present.weights.any(axis=0)
    if (never := ~seen & (bounds.upper > 0)).any():
        say(
            f"never drawn: {listed(never)}; nothing will be learnt about what these domains do. Raise maximum_usage or "
            "max_strength, lower temperature or minimum, or draw more mixtures"
        )
    if law.sample_multiplier == 1 or not draw.num_drawn:  # every draw is kept
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
            f"maximum_usage ({law.maximum_usage:g}) or max_strength, or sample_multiplier 1, mixes more"
        )


@dataclass(frozen=True)
class Sweep:
    """The mixtures that a sweep has, which an extension leaves as they are.

    weights: Shape (num_mixtures, num_domains), in the order of the table of domains.
    all: Those and the held-out ones.
    settings: What the first of them records.
    last: The largest index.
    header: The header of mixtures.csv, in whose order new rows come.
    """

    weights: np.ndarray
    all: np.ndarray
    settings: dict[str, Any]
    last: int
    header: list[str]

    @classmethod
    def read(cls, out: Path, names: Sequence[str]) -> "Sweep":
        """The sweep in a folder.

        Raises:
            InputError: If there is none, or its domains are others.
        """
        path = out / "mixtures.csv"
        if not path.exists():
            raise InputError(f"{path}: no such file, so there is no sweep to extend; leave out --extend to draw one")
        table = read_mixtures(path)
        if not all(isinstance(key, int) for key in table.index):
            raise InputError(
                f"{path}: its rows have no whole-number index, so they are not ours; it cannot be extended"
            )
        if set(table.domains) != set(names):
            odd = sorted(set(table.domains) ^ set(names))
            raise InputError(f"{path}: its domains are not those of the table ({some(odd)} are in one only)")
        columns = [table.domains.index(name) for name in names]
        weights = everything = table.weights[:, columns]
        if (out / "holdout" / "mixtures.csv").exists():
            held = read_mixtures(out / "holdout" / "mixtures.csv")
            everything = np.concatenate([weights, held.weights[:, [held.domains.index(name) for name in names]]])
        first = out / "mixtures" / f"{run_id(min(map(int, table.index)))}.yaml"
        if not first.exists():
            raise InputError(
                f"{first}: no such file, so the sweep is not ours and its settings are not known; draw another"
            )
        settings = recorded_settings(first).extra
        if settings.get("design", "dirichlet") not in typing.get_args(Design):
            raise InputError(
                f"{first}: design is {settings['design']!r:.60}, none of {', '.join(typing.get_args(Design))}"
            )
        return cls(weights, everything, settings, max(map(int, table.index)), table.domains)

    def append(
        self,
        out: Path,
        names: Sequence[str],
        steps: np.ndarray,
        num_steps: int,
        settings: Mapping[str, Any],
        labels: Sequence[str],
    ) -> None:
        """Write further mixtures beside those that are there; the table comes last."""
        with ThreadPoolExecutor(32) as pool:  # one after another, waiting for the disk takes 6 ms a file
            texts = enumerate(_yamls(names, steps, num_steps, settings, labels), start=self.last + 1)
            list(pool.map(lambda item: write_text(out / "mixtures" / f"{run_id(item[0])}.yaml", item[1]), texts))
        columns = [list(names).index(name) for name in self.header]
        with replacing(out / "mixtures.csv") as temporary:
            old = read_text(out / "mixtures.csv")
            rows = _csv_rows(steps[:, columns], num_steps, self.last + 1)
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(old if old.endswith("\n") else old + "\n")
                file.writelines(rows)


def write_sweep(
    out: Path,
    names: Sequence[str],
    steps: np.ndarray,
    num_steps: int,
    settings: Mapping[str, Any],
    labels: Sequence[str],
) -> None:
    """OUT/mixtures/n00001.yaml and so on, then OUT/mixtures.csv, which means that all are there.

    Args:
        out: The folder.
        names: Domain names.
        steps: Weights in steps of 1 / num_steps, shape (num_mixtures, num_domains).
        num_steps: Steps that make a weight of 1.
        settings: What every file records after its weights.
        labels: Further lines of the first files.
    """
    remove(out / "mixtures.csv")  # it means that all mixtures are there, so it goes before them and comes back last
    with replacing(out / "mixtures") as folder, progress("write mixtures", total=len(steps), unit="files") as bar:
        folder.mkdir()
        for number, text in enumerate(_yamls(names, steps, num_steps, settings, labels), start=1):
            (folder / f"{run_id(number)}.yaml").write_bytes(text.encode())
            bar.advance()
    with (
        replacing(out / "mixtures.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(",".join(["index", *(f"train_{name}" for name in names)]) + "\n")
        file.writelines(_csv_rows(steps, num_steps, 1))


def check_folders(out: Path) -> None:
    """Raise an InputError if something else than mixtures is where a sweep's and its held-out ones are to be."""
    for folder in (out / "mixtures", out / "holdout" / "mixtures"):
        for place in (out, out / "holdout", folder):
            if place.exists() and not place.is_dir():
                raise InputError(f"{place}: is a file where a folder is to be; choose another folder with --out")
        others = [p.name for p in folder.glob("[!.]*") if not re.fullmatch(r"n\d+\.yaml", p.name)]
        if others:
            raise InputError(f"{folder}: holds {others[0]}, which is no mixture; choose another folder with --out")


def _yamls(
    names: Sequence[str],
    steps: np.ndarray,
    num_steps: int,
    settings: Mapping[str, Any],
    labels: Sequence[str],
) -> Iterator[str]:
    """The text of every mixture's YAML. (yaml.safe_dump takes 5 ms a mixture.)"""
    valid = yaml.safe_dump({"valid": {f"valid_{name}": 1.0 for name in names}}, sort_keys=False)
    rest = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    zeros = [f"  train_{name}: 0.0\n" for name in names]
    keys = [f"  train_{name}: " for name in names]
    # YAML 1.1 takes 2e-05 for text, and 2.0e-05 for a number.
    numbers = [re.sub(r"^(\d+)e", r"\1.0e", text) + "\n" for text in _texts(num_steps)]
    for number, row in enumerate(steps):
        lines = zeros.copy()
        weighted = np.flatnonzero(row)
        for domain, step in zip(weighted.tolist(), row[weighted].tolist(), strict=True):
            lines[domain] = keys[domain] + numbers[step]
        yield f"train:\n{''.join(lines)}{valid}{rest}{labels[number] if number < len(labels) else ''}"


def _csv_rows(steps: np.ndarray, num_steps: int, first: int) -> Iterator[str]:
    texts = _texts(num_steps)
    for number, row in enumerate(steps, start=first):
        yield f"{number},{','.join(map(texts.__getitem__, row.tolist()))}\n"


def _texts(num_steps: int) -> list[str]:
    """Every weight of the grid at full precision: the text of step / num_steps."""
    return [repr(step / num_steps) for step in range(num_steps + 1)]


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(synthesize)
