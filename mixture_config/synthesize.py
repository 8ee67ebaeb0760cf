"""domains.csv -> mixtures to train proxies on, drawn around the prior as RegMix draws them.

python mixture_config/synthesize.py --domains domains.csv --num_mixtures 512 --seed 42 --out DIR
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixture_config.baseline import BASELINES, temperature_shares
from mixture_config.sampling import Draw, draw_mixtures, grid_steps
from mixture_config.simplex import epoch_bounds, grid_bounds, round_to_grid, water_fill
from proxymix.cli import nearest, run
from proxymix.errors import InputError
from proxymix.files import remove, replacing
from proxymix.progress import progress, say
from proxymix.schemas import read_domains, run_id, write_table

FEW_FIT = 0.05  # under this part of the draws within their caps, what is kept leans to the domains with loose caps


def synthesize(
    domains: Path,
    out: Path,
    num_mixtures: int = 512,
    seed: int = 42,
    temperature: float = 0.5,
    min_strength: float = 0.1,
    max_strength: float = 5.0,
    minimum: float = 2e-4,
    maximum_usage: float = 15.0,
    sample_multiplier: int = 100,
    budget: int | None = None,
    max_epochs: float = 4.0,
    include: list[str] | None = None,
    model_name: str = "tinyllama_1M",
) -> None:
    """Draw the mixtures that proxies are trained on: Dirichlet draws around the prior, as RegMix makes them.

    Writes OUT/mixtures/n00001.yaml and so on, then OUT/mixtures.csv. The defaults are RegMix's, made for some twenty
    domains of unlike sizes: most weights of a mixture are zero and one mixture in six is nearly a single domain. Over
    hundreds of domains they give little but single large domains; temperature 0.3, max_strength 50 and maximum_usage
    100 mix 200 domains of Zipf sizes well.

    Args:
        domains: A CSV with the columns domain and tokens, such as a study's domains.csv.
        out: The folder for mixtures/ and mixtures.csv.
        num_mixtures: How many, those of `include` among them; 32 is the least that says anything, RegMix takes 512.
        seed: Same seed and settings, same files.
        temperature: Draws average prior**temperature, renormalised: 1 is the prior, near 0 is uniform. The more the
            sizes of the domains differ, the lower it should be for the small ones to appear.
        min_strength: Smallest Dirichlet concentration: at 0.1 nearly all weight falls on one domain. With many domains
            raise it, so that more of them are mixed.
        max_strength: Largest Dirichlet concentration: about as many domains share a mixture. With hundreds of domains
            raise it to a quarter of their number; the nearer to the prior mixtures should stay, the higher.
        minimum: Smaller weights become zero, the others multiples of it (or of the next larger number that divides 1).
            A domain whose cap is below it is never drawn; lower it for very skewed priors or hundreds of domains.
        maximum_usage: Largest weight of a domain, in multiples of its prior. A draw that breaks it is drawn again, so
            where domains are many, or one has nearly all tokens, raise it or the small ones will hardly appear; 1e9
            for none.
        sample_multiplier: Draws made for every mixture kept; more draws, fewer nearly single-domain mixtures (equal
            ones count once). Lower it for many thousand mixtures.
        budget: Tokens of the final training; with it, no mixture takes more of a domain than max_epochs passes.
        max_epochs: Most passes over a domain's tokens at `budget` (4 costs little, arXiv:2305.16264).
        include: Mixtures to begin with: prior, uniform, temperature. They keep to the epochs, not to maximum_usage.
        model_name: The model that the files name for RegMix's own trainer; ours takes it from its settings.
    """
    settings = {
        "seed": seed,
        "temperature": temperature,
        "min_strength": min_strength,
        "max_strength": max_strength,
        "minimum": minimum,
        "sample_multiplier": sample_multiplier,
        "maximum_usage": maximum_usage,
        "model_name": model_name,
        "num_mixtures": num_mixtures,
        **({} if budget is None else {"budget": budget, "max_epochs": max_epochs}),
        **({} if not include else {"include": list(include)}),
    }
    _check_settings(settings, max_epochs)
    table = read_domains(domains)
    names = [domain.domain for domain in table]
    tokens = np.array([domain.tokens for domain in table], dtype=float)
    center = temperature_shares(tokens, temperature)
    try:
        epochs = np.ones(len(tokens)) if budget is None else epoch_bounds(tokens, budget, max_epochs)
        anchors = anchor_steps(tokens, include or [], temperature, epochs, grid_steps(minimum))
        if len(anchors) >= num_mixtures:
            raise InputError(f"num_mixtures is {num_mixtures}, and include alone gives {len(anchors)}; raise the first")
        with progress("draw mixtures", total=(num_mixtures - len(anchors)) * sample_multiplier, unit="draws") as bar:
            draw = draw_mixtures(
                center,
                num_mixtures - len(anchors),
                np.random.default_rng(seed),
                upper=np.minimum(np.minimum(tokens / tokens.sum() * maximum_usage, 1.0), epochs),
                min_strength=min_strength,
                max_strength=max_strength,
                minimum=minimum,
                sample_multiplier=sample_multiplier,
                exclude=np.array(list(anchors.values())) if anchors else None,
                names=names,
                on_drawn=bar.advance,
            )
    except InputError as error:
        raise InputError(f"{domains}: {error}") from None
    weights = np.concatenate([np.array(list(anchors.values())).reshape(-1, len(names)), draw.steps]) / draw.num_steps
    _say_what_to_know(str(domains), names, tokens, weights, draw, maximum_usage)
    _write(Path(out), names, weights, list(anchors), settings)


def anchor_steps(
    tokens: np.ndarray, include: Sequence[str], temperature: float, upper: np.ndarray, num_steps: int
) -> dict[str, np.ndarray]:
    """Named baselines within `upper`, in the order of `include`: name -> steps of 1 / num_steps, shape (num_domains,).

    Those that are the same mixture (the prior of equal domains is uniform) are there once, under the first name.

    Raises:
        InputError: If `upper` holds no mixture on the grid.
    """
    anchors: dict[str, np.ndarray] = {}
    for name in include:
        shares = temperature_shares(tokens, temperature) if name == "temperature" else BASELINES[name](tokens)
        low, high = grid_bounds(np.zeros(len(tokens)), np.where(tokens > 0, upper, 0.0), num_steps)
        steps = round_to_grid(water_fill(shares, 0.0, high / num_steps)[None], num_steps, low, high)[0]
        same = [other for other, there in anchors.items() if np.array_equal(there, steps)]
        if same:
            say(f"include: {name} is the same mixture as {same[0]} here, so it is there once")
        else:
            anchors[name] = steps
    return anchors


def _check_settings(settings: Mapping[str, Any], max_epochs: float) -> None:
    rules = {
        "num_mixtures": (1, math.inf, "at least 1"),
        "seed": (0, math.inf, "at least 0"),
        "temperature": (1e-6, 100, "above 0, and at most 100"),
        "min_strength": (1e-6, 1e9, "above 0"),
        "max_strength": (settings["min_strength"], 1e9, "at least min_strength"),
        "minimum": (1e-6, 1, "from 1e-6 to 1"),
        "sample_multiplier": (1, math.inf, "at least 1"),
        "maximum_usage": (1, math.inf, "at least 1 (the caps are multiples of the prior, which must fit below them)"),
    }
    for name, (smallest, largest, wanted) in rules.items():
        if not smallest <= settings[name] <= largest:
            raise InputError(f"{name} is {settings[name]}; a number {wanted} is wanted")
    for name in settings.get("include", []):
        if name not in BASELINES:
            raise InputError(f"include: {name!r} is none of {', '.join(BASELINES)}{nearest(name, BASELINES)}")
    if settings.get("budget", 1) <= 0 or not max_epochs > 0:
        raise InputError(f"budget is {settings.get('budget')} and max_epochs {max_epochs}; both must be above 0")


def _say_what_to_know(
    path: str, names: Sequence[str], tokens: np.ndarray, weights: np.ndarray, draw: Draw, maximum_usage: float
) -> None:
    def listed(which: np.ndarray) -> str:
        chosen = [name for name, yes in zip(names, which, strict=True) if yes]
        return ", ".join(chosen[:5]) + (f" and {len(chosen) - 5} more" if len(chosen) > 5 else "")

    zeros = (weights == 0).sum(axis=1).mean()
    say(f"{len(weights):,} mixtures of {len(names)} domains, of which {zeros:.1f} have weight 0 in the average mixture")
    if (empty := tokens == 0).any():
        say(f"{path}: no tokens in {listed(empty)}: weight 0 in every mixture")
    if (never := (weights == 0).all(axis=0) & ~empty).any():
        say(
            f"never drawn: {listed(never)}; nothing will be learnt about what these domains do. Raise maximum_usage or "
            "max_strength, lower temperature or minimum, or draw more mixtures"
        )
    fitting = draw.num_fitting / draw.num_drawn
    if not draw.num_scaled and fitting < FEW_FIT:
        say(
            f"only {fitting:.1%} of the draws kept to every cap, most of them nearly single large domains; a higher "
            f"maximum_usage ({maximum_usage:g}) or max_strength mixes more"
        )
    if draw.num_scaled:
        say(
            f"only {draw.num_fitting:,} of {draw.num_drawn:,} draws kept to every cap, so {draw.num_scaled:,} mixtures are "
            f"draws scaled into the caps, which crowds them there; raise maximum_usage ({maximum_usage:g}) or max_strength"
        )


def _write(
    out: Path, names: Sequence[str], weights: np.ndarray, anchors: Sequence[str], settings: Mapping[str, Any]
) -> None:
    others = [p.name for p in (out / "mixtures").glob("*") if not re.fullmatch(r"n\d+\.yaml", p.name)]
    if others:
        raise InputError(
            f"{out / 'mixtures'}: holds {others[0]}, which is no mixture; choose another folder with --out"
        )
    remove(out / "mixtures.csv")  # it means that all mixtures are there, so it goes before them and comes back last
    valid = yaml.safe_dump({"valid": {f"valid_{name}": 1.0 for name in names}}, sort_keys=False)
    rest = yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)
    rows = weights.tolist()
    with replacing(out / "mixtures") as folder:
        folder.mkdir()
        for index, row in enumerate(rows, start=1):
            train = "".join(f"  train_{name}: {_number(weight)}\n" for name, weight in zip(names, row, strict=True))
            anchor = f"anchor: {anchors[index - 1]}\n" if index <= len(anchors) else ""
            (folder / f"{run_id(index)}.yaml").write_text(f"train:\n{train}{valid}{rest}{anchor}", encoding="utf-8")
    header = ["index", *(f"train_{name}" for name in names)]
    write_table(out / "mixtures.csv", header, [[index, *row] for index, row in enumerate(rows, start=1)])


def _number(weight: float) -> str:
    """A float as YAML 1.1 reads it back: 2e-05 is text there, 2.0e-05 a number. (yaml.safe_dump takes 5 ms a mixture.)"""
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(weight))


if __name__ == "__main__":
    run(synthesize)
