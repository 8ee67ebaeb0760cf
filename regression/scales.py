"""Losses of the same mixtures at several proxy sizes or token counts -> do they rank alike, and what would a larger one say.

python regression/scales.py --config scales.yaml --out scales

OUT gets agreement.csv (how alike two scales rank the mixtures), scaling_laws.csv (how well laws that know the size predict a
scale they have not seen, beside naive guesses), with a target size predictions.csv, target_mixtures.csv and
target_losses.csv (as if proxies of that size had been trained: `proxymix fit` reads them), and last scales.json.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixture_config.files.mixture_table import Key
from proxymix.errors import InputError
from proxymix.files import read_yaml, remove, sha256, write_json
from proxymix.messages import nearest, some
from proxymix.progress import progress, say
from proxymix.schemas import loss_domain
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.threads import single_thread
from regression.scaling.scaling_laws import LAWS, Points, SizeLaw, leftover

LOW = (
    0.8  # a Spearman correlation under this is called low: of two mixtures drawn at random a fifth or more swap places
)
FEWEST = 4  # mixtures that two scales must share to be compared
SAME = 0.01  # total variation within which two rows are one mixture; published weights are rounded to 3 decimals
FAR = 10.0  # times larger than the largest scale from which on a prediction is warned of
CHOICES = 2000  # bootstrap draws of mixtures behind the intervals of agreement
CLOSE = 1.1  # laws whose errors are within a tenth of each other are as good
OBJECTIVE = "objective"
MEASURES = ("rmse", "bias", "centred_rmse", "spearman", "regret", "covered")


def scales(
    scales: dict[str, Any],
    out: Path,
    target_params: int | None = None,
    target_tokens: int | None = None,
    targets: list[str] | None = None,
    objective: str | dict[str, Any] = "mean",
    law: Literal["auto", "additive", "joint", "bimix"] = "auto",
    num_bootstrap: int = 100,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Compare proxies of different sizes on the same mixtures, and predict a larger size.

    Scales are named in a YAML given as --config, sizes in parameters (without embeddings) and training tokens of a run:
    {scales: {1m: {mixtures: a.csv, losses: b.csv, params: 1e6, tokens: 1e9}, 60m: {mixtures: a.csv, losses: c.csv,
    params: 60e6, tokens: 1e9}}, target_params: 1e9}. A finished study's folder may stand for all four: {scales: {small:
    studies/small, large: studies/large}}.

    OUT/agreement.csv says whether small proxies can be trusted: if they rank mixtures unlike larger ones do, there is a warning.
    Laws in which the loss depends on mixture and size are fitted (regression/scaling/scaling_laws.py has their formulas), tried on
    the largest scale held out, and used for the target size. OUT/target_losses.csv is what proxies of that size would
    measure: proxymix fit --mixtures OUT/target_mixtures.csv --losses OUT/target_losses.csv.

    Args:
        scales: Name -> a study's folder, or {mixtures, losses, params, tokens} (of a study, what is given wins).
        out: Folder to write.
        target_params: Parameters of the model to predict for; by default those of the largest scale.
        target_tokens: Tokens of the model to predict for; by default those of the largest scale.
        targets: Loss columns (or their domains); all, which must then be the same at every scale.
        objective: What is to be low, of which agreement is reported beside that of every target (as in `proxymix fit`).
        law: Which law predicts. auto takes the one with the least error on the largest scale held out (the simpler of two as
            good), and with two scales, which leave nothing to choose by, additive.
        num_bootstrap: Draws of the mixtures behind the intervals of the laws; 90% of them are in an interval.
        seed: Same seed and settings, same files.
        workers: Processes; by default one for every core.

    Raises:
        InputError: If there are fewer than two scales, they share no mixtures, or have other domains or targets.
    """
    if num_bootstrap < 20:
        raise InputError(f"num_bootstrap is {num_bootstrap}; at least 20 draws are needed for an interval")
    measured = read_scales(scales, targets)
    sweep = match_scales(measured)
    target = _target(measured, target_params, target_tokens)
    rows = agreement(sweep, objective, np.random.default_rng([seed, 0]))
    positive = [t for t, column in enumerate(sweep.losses.T) if (column > 0).all()]
    if len(positive) < len(sweep.targets):
        left = [loss_domain(name) for t, name in enumerate(sweep.targets) if t not in positive]
        say(f"no law is fitted to {some(left)}: not all values are above 0, as losses are")
    trials = try_laws(sweep, positive, LAWS, 0, seed, workers)
    chosen = choose(trials, law, len(positive), len(measured)) if positive else None
    if chosen is not None:
        trials = [trial for trial in trials if trial.law != chosen]
        trials = [*try_laws(sweep, positive, [chosen], num_bootstrap, seed, workers), *trials]
    remove(out / "scales.json")
    write_table(out / "agreement.csv", list(rows[0]), [tuple(row.values()) for row in rows])
    _say_agreement(rows)
    content: dict[str, Any] = {
        "scales": {s.name: {"params": s.params, "tokens": s.tokens, "num_runs": len(s.runs.index)} for s in measured},
        "inputs": {s.name: s.inputs for s in measured},
        "settings": {"objective": objective, "law": law, "num_bootstrap": num_bootstrap, "seed": seed},
        "law": chosen,
    }
    if chosen is not None:
        table = _law_rows(sweep, trials, chosen)
        write_table(out / "scaling_laws.csv", list(table[0]), [tuple(row.values()) for row in table])
        _say_laws(sweep, table, chosen)
    if chosen is not None and target is not None:
        widened = widening(trials, chosen) if len(measured) > 2 else None
        predicted = predict_target(sweep, positive, chosen, target, widened or 1.0, num_bootstrap, seed, workers)
        _write_target(out, sweep, [sweep.targets[t] for t in positive], predicted)
        content |= {"target": {"params": target[0], "tokens": target[1]}, "intervals_widened": widened}
        content["parameters"] = {sweep.targets[t]: p.parameters for t, p in zip(positive, predicted, strict=True)}
        _say_target(measured, target, chosen, widened, out)
    write_json(out / "scales.json", content)


@dataclass(frozen=True)
class Scale:
    """Runs of one proxy size."""

    name: str
    runs: Runs
    params: float
    tokens: float
    inputs: dict[str, str]  # SHA-256 of the files

    @property
    def compute(self) -> float:
        """Parameters times tokens, by which scales are ordered."""
        return self.params * self.tokens


def read_scales(entries: Mapping[str, Any], targets: Sequence[str] | None) -> list[Scale]:
    """The scales, the smallest (parameters times tokens) first.

    Raises:
        InputError: If there are fewer than two, an entry lacks something, or two have the same size.
    """
    if len(entries) < 2:
        raise InputError(
            f"scales: {len(entries)} given ({some(entries) or 'none'}); two or more are needed to say anything about size"
        )
    found = sorted(
        (_read_scale(str(name), entry, targets) for name, entry in entries.items()), key=lambda s: (s.compute, s.params)
    )
    for a, b in itertools.pairwise(found):
        if (a.params, a.tokens) == (b.params, b.tokens):
            raise InputError(
                f"scales: {a.name} and {b.name} are of one size ({a.params:,.0f} parameters, {a.tokens:,.0f} tokens); "
                "two or more different sizes are needed"
            )
    return found


def _read_scale(name: str, entry: Any, targets: Sequence[str] | None) -> Scale:
    where = f"scales.{name}"
    if isinstance(entry, str | Path):
        entry = {"study": entry}
    if not isinstance(entry, Mapping):
        raise InputError(
            f"{where} is {entry!r:.60}; a study's folder or {{mixtures, losses, params, tokens}} is wanted"
        )
    known = ("study", "mixtures", "losses", "params", "tokens")
    if unknown := [key for key in entry if key not in known]:
        raise InputError(
            f"{where}: no key {unknown[0]!r}{nearest(str(unknown[0]), known)}; there are {', '.join(known)}"
        )
    entry = {key: value for key, value in entry.items() if value is not None}
    if "study" in entry:
        study = Path(entry["study"])
        if not study.is_dir():
            raise InputError(f"{where}: {study}: no such study")
        entry = {"mixtures": study / "mixtures.csv", "losses": study / "losses.csv"} | entry
        if "params" not in entry or "tokens" not in entry:
            entry = study_size(study, where) | entry
    if lacking := [key for key in known[1:] if key not in entry]:
        raise InputError(f"{where}: {lacking[0]} is missing; give {', '.join(known[1:])}, or the folder of a study")
    paths = {key: Path(entry[key]) for key in ("mixtures", "losses")}
    runs = read_runs(paths["mixtures"], paths["losses"], targets)
    params, tokens = (_size(entry[key], f"{where}.{key}") for key in ("params", "tokens"))
    return Scale(name, runs, params, tokens, {key: sha256(path) for key, path in paths.items()})


def _size(value: Any, where: str) -> float:
    try:
        number = float(str(value).replace("_", ""))
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise InputError(f"{where} is {value!r:.60}; a number above 0 is wanted")
    return number


def study_size(study: Path, where: str) -> dict[str, float]:
    """Parameters and tokens of a study's runs, by their manifests.

    Raises:
        InputError: If there is none, or they differ.
    """
    manifests = sorted((study / "proxies").glob("n*/manifest.yaml"))
    if not manifests:
        raise InputError(f"{where}: {study}/proxies: no finished runs say their size; give params and tokens")
    sizes = set()
    for path in manifests:
        content = read_yaml(path)
        try:
            sizes.add((float(content["num_parameters"]), float(content["settings"]["tokens"])))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: no num_parameters and settings.tokens; give params and tokens for {where}"
            ) from None
    if len(sizes) > 1:
        raise InputError(f"{where}: {study}/proxies: runs of {len(sizes)} different sizes; a scale has one")
    params, tokens = sizes.pop()
    return {"params": params, "tokens": tokens}


@dataclass(frozen=True)
class Sweep:
    """All runs of all scales, and which of them have the same mixture.

    Attributes:
        scales: The smallest first.
        keys: A key of every mixture.
        weights: Shape (num_mixtures, num_domains).
        scale: Which scale each run is of, shape (num_runs,).
        mixture: Which mixture each run has, shape (num_runs,).
        losses: Shape (num_runs, num_targets).
    """

    scales: list[Scale]
    domains: list[str]
    targets: list[str]
    keys: list[Key]
    weights: np.ndarray
    scale: np.ndarray
    mixture: np.ndarray
    losses: np.ndarray

    def points(self, rows: np.ndarray) -> Points:
        """Mixtures and sizes of runs."""
        sizes = np.array([(s.params, s.tokens) for s in self.scales])[self.scale[rows]]
        return Points(self.weights[self.mixture[rows]], sizes[:, 0], sizes[:, 1])

    def at(self, scale: int) -> np.ndarray:
        """Losses at a scale, shape (num_mixtures, num_targets); not a number where the scale has no run."""
        losses = np.full((len(self.keys), len(self.targets)), np.nan)
        rows = self.scale == scale
        losses[self.mixture[rows]] = self.losses[rows]
        return losses


def match_scales(found: Sequence[Scale]) -> Sweep:
    """Find which runs have the same mixture: by key where keys agree with weights, else by weights.

    Raises:
        InputError: If domains or targets differ, or no two scales have FEWEST mixtures in common.
    """
    first = found[0]
    domains, names = first.runs.domains, first.runs.targets
    keys: list[Key] = []
    weights: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    for scale in found:
        runs = scale.runs
        _check_same(scale.name, "domains", runs.domains, first.name, domains)
        _check_same(scale.name, "targets", runs.targets, first.name, names)
        rows = runs.weights[:, [runs.domains.index(domain) for domain in domains]]
        column = _matched(rows, runs.index, np.array(weights).reshape(-1, len(domains)), keys, scale.name)
        for row in np.flatnonzero(column < 0):
            key = runs.index[row]
            column[row] = len(keys)
            keys.append(key if key not in keys else f"{scale.name}-{key}")
            weights.append(rows[row])
        columns.append(column)
    shared = max(len(set(a.tolist()) & set(b.tolist())) for i, a in enumerate(columns) for b in columns[:i])
    if shared < FEWEST:
        raise InputError(
            f"scales: {some(s.name for s in found)} have {shared} mixtures in common, and {FEWEST} are the least that can "
            "be ranked; train the same mixtures at both sizes"
        )
    losses = [s.runs.losses[:, [s.runs.targets.index(name) for name in names]] for s in found]
    scale_of = np.repeat(np.arange(len(found)), [len(column) for column in columns])
    return Sweep(
        list(found), domains, names, keys, np.array(weights), scale_of, np.concatenate(columns), np.vstack(losses)
    )


def _check_same(name: str, what: str, found: Sequence[str], first: str, wanted: Sequence[str]) -> None:
    missing, extra = [x for x in wanted if x not in found], [x for x in found if x not in wanted]
    if missing or extra:
        parts = [f"lacks {some(map(loss_domain, missing))}"] if missing else []
        parts += [f"has {some(map(loss_domain, extra))} beside"] if extra else []
        do = (
            "`proxymix reuse` writes runs over other domains"
            if what == "domains"
            else "name shared ones with --targets"
        )
        raise InputError(f"scales.{name}: its {what} are not those of {first}: {name} {' and '.join(parts)}; {do}")


def _matched(rows: np.ndarray, index: Sequence[Key], known: np.ndarray, keys: Sequence[Key], name: str) -> np.ndarray:
    """Which known mixture each row is, -1 for none."""
    none = np.full(len(rows), -1)
    position = {key: i for i, key in enumerate(keys)}
    by_key = np.array([position.get(key, -1) for key in index])
    shared = by_key >= 0
    if not len(known):
        return none
    if shared.any() and 0.5 * np.abs(rows[shared] - known[by_key[shared]]).sum(axis=1).max() <= SAME:
        return by_key
    apart = np.array([0.5 * np.abs(row - known).sum(axis=1) for row in rows])
    nearest_known, nearest_row = apart.argmin(axis=1), apart.argmin(axis=0)
    each = np.arange(len(rows))
    same = (apart[each, nearest_known] <= SAME) & (nearest_row[nearest_known] == each)
    if shared.any():
        say(
            f"scales.{name}: its keys name other mixtures than before, so runs meet by their weights: {same.sum()} of "
            f"{len(rows)} mixtures are there already"
        )
    return np.where(same, nearest_known, none)


def agreement(sweep: Sweep, objective: str | dict[str, Any], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of agreement.csv: how alike every two scales rank their common mixtures, by the objective and by each target.

    `regret` is how much higher the loss at the larger scale is of the mixture that the smaller would pick than the lowest
    there; `top_tenth` the part of its best tenth that is also the smaller's, `top_tenth_by_chance` what that is when
    nothing agrees. Intervals hold 90% of what bootstrap draws of the mixtures give.
    """
    rows = []
    for large in range(1, len(sweep.scales)):
        for small in range(large):
            pair = [sweep.at(small), sweep.at(large)]
            both = np.isfinite(pair[0]).all(axis=1) & np.isfinite(pair[1]).all(axis=1)
            names = sweep.scales[small].name, sweep.scales[large].name
            if both.sum() < FEWEST:
                say(f"{names[0]} and {names[1]} share {both.sum()} mixtures: too few to compare")
                continue
            x, y = pair[0][both], pair[1][both]
            values = [Objective.of(objective, sweep.targets, losses).value(losses) for losses in (x, y)]
            columns = {OBJECTIVE: values} if len(sweep.targets) > 1 else {}
            columns |= {name: [x[:, t], y[:, t]] for t, name in enumerate(sweep.targets)}
            draws = rng.integers(0, len(x), (CHOICES, len(x)))
            for name, (a, b) in columns.items():
                rows.append({"target": name, "smaller": names[0], "larger": names[1], **compare(a, b, draws)})
    return rows


def compare(small: np.ndarray, large: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """How alike two scales rank mixtures.

    Args:
        small: Losses at the smaller scale, shape (num_mixtures,).
        large: Those of the same mixtures at the larger.
        draws: Mixtures of each bootstrap draw, shape (num_draws, num_mixtures).
    """
    from scipy.stats import kendalltau, rankdata

    def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        a, b = (r - r.mean(axis=-1, keepdims=True) for r in (rankdata(a, axis=-1), rankdata(b, axis=-1)))
        size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
        return np.asarray(np.divide((a * b).sum(axis=-1), size, out=np.zeros_like(size), where=size > 0))

    def regret(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        picked = np.take_along_axis(b, a.argmin(axis=-1, keepdims=True), axis=-1)[..., 0]
        return np.asarray(picked - b.min(axis=-1))

    ends = np.quantile(spearman(small[draws], large[draws]), [0.05, 0.95])
    costs = np.quantile(regret(small[draws], large[draws]), [0.05, 0.95])
    tenth = max(1, len(small) // 10)
    best = [set(np.argsort(values, kind="stable")[:tenth].tolist()) for values in (small, large)]
    between = float(spearman(small[None], large[None])[0])
    return {
        "num_mixtures": len(small),
        "spearman": between,
        "spearman_low": float(ends[0]),
        "spearman_high": float(ends[1]),
        "kendall": float(np.nan_to_num(kendalltau(small, large).statistic)),
        "top_tenth": len(best[0] & best[1]) / tenth,
        "top_tenth_by_chance": tenth / len(small),
        "regret": float(regret(small[None], large[None])[0]),
        "regret_low": float(costs[0]),
        "regret_high": float(costs[1]),
        "verdict": "low" if between < LOW else "uncertain" if ends[0] < LOW else "good",
    }


@dataclass(frozen=True)
class Predicted:
    """Losses that a law predicts for every mixture of the sweep, each of shape (num_mixtures,)."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rmse: float  # on the runs fitted
    num_runs: int
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A law tried on the largest scale, fitted on the smaller ones: the measures of one target."""

    law: str
    target: int
    predicted: Predicted
    measured: np.ndarray  # (num_mixtures,), not a number where the largest scale has no run


def try_laws(
    sweep: Sweep, targets: Sequence[int], laws: Sequence[str], num_bootstrap: int, seed: int, workers: int | None
) -> list[Trial]:
    """Laws on targets, fitted without the largest scale; a law that does not apply to a target is passed over."""
    last = len(sweep.scales) - 1
    rows = np.flatnonzero(sweep.scale < last)
    size = sweep.scales[last].params, sweep.scales[last].tokens
    pairs = [(name, t) for name in laws for t in targets if name != "bimix" or _own(sweep, t) is not None]
    predicted = _predict_all(sweep, pairs, rows, size, num_bootstrap, seed, workers, "try laws on the largest scale")
    measured = sweep.at(last)
    return [Trial(name, t, p, measured[:, t]) for (name, t), p in zip(pairs, predicted, strict=True)]


def predict_target(
    sweep: Sweep,
    targets: Sequence[int],
    law: str,
    size: tuple[float, float],
    widened: float,
    num_bootstrap: int,
    seed: int,
    workers: int | None,
) -> list[Predicted]:
    """A law fitted to all runs, at the target size, per target; intervals are stretched by `widened`."""
    pairs = [(law, t) for t in targets]
    found = _predict_all(
        sweep, pairs, np.arange(len(sweep.losses)), size, num_bootstrap, seed, workers, "predict the target size"
    )
    return [
        replace(p, low=p.mean - widened * (p.mean - p.low), high=p.mean + widened * (p.high - p.mean)) for p in found
    ]


def _own(sweep: Sweep, target: int) -> int | None:
    """The position of the domain whose loss a target is."""
    name = loss_domain(sweep.targets[target])
    return sweep.domains.index(name) if name in sweep.domains else None


def _predict_all(
    sweep: Sweep,
    pairs: Sequence[tuple[str, int]],
    rows: np.ndarray,
    size: tuple[float, float],
    num_bootstrap: int,
    seed: int,
    workers: int | None,
    description: str,
) -> list[Predicted]:
    import joblib

    points, at = sweep.points(rows), np.full(len(sweep.keys), 1.0)
    goal = Points(sweep.weights, at * size[0], at * size[1])
    jobs = (
        joblib.delayed(predict_law)(
            SizeLaw(name, _own(sweep, t)),
            points,
            sweep.losses[rows, t],
            sweep.mixture[rows],
            goal,
            sweep.domains,
            num_bootstrap,
            np.random.default_rng([seed, 1, LAWS.index(name), t]),
        )
        for name, t in pairs
    )
    found = []
    with progress(description, total=len(pairs), unit="laws") as bar:
        processes = min(workers or joblib.cpu_count(), max(len(pairs), 1))
        for result in joblib.Parallel(processes, return_as="generator")(jobs):
            found.append(result)
            bar.advance()
    return found


def predict_law(
    law: SizeLaw,
    points: Points,
    losses: np.ndarray,
    mixture: np.ndarray,
    goal: Points,
    domains: Sequence[str],
    num_bootstrap: int,
    rng: np.random.Generator,
) -> Predicted:
    """Fit a law to runs and predict every mixture elsewhere, with 90% intervals.

    To the law's value comes what it misses of a mixture at every scale alike. The intervals are of the loss without a
    run's noise, and hold if the law does.

    Args:
        law: Not yet fitted.
        points: Of the runs.
        losses: Shape (num_runs,).
        mixture: Which row of `goal` each run has, shape (num_runs,).
        goal: A row for every mixture, at the size wanted.
        domains: Names of the weights.
        num_bootstrap: Draws of mixtures; 0 for no intervals.
        rng: For starts and draws.
    """
    with single_thread():
        law.fit(points, losses, rng)
        residuals = losses - law.predict(points)
        num_mixtures = len(goal.weights)
        rest = leftover(residuals, mixture, num_mixtures)
        present = np.unique(mixture)
        draws = np.empty((num_bootstrap, num_mixtures))
        for draw in draws:
            counts = np.bincount(rng.choice(present, len(present)), minlength=num_mixtures)[mixture]
            theta = law.again(points, losses, counts.astype(float), rng)
            again = leftover(losses - law.predict(points, theta), mixture, num_mixtures)
            draw[:] = law.predict(goal, theta) + again.mean + again.std * rng.normal(size=num_mixtures)
        mean = law.predict(goal) + rest.mean
        low, high = np.quantile(draws, [0.05, 0.95], axis=0) if num_bootstrap else (mean, mean)
    parameters = law.parameters(domains)
    return Predicted(
        mean,
        np.minimum(low, mean),
        np.maximum(high, mean),
        float(np.sqrt(np.mean(residuals**2))),
        len(losses),
        parameters,
    )


def measures(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Of predicted losses of mixtures: rmse, bias (the mean error), rmse without it, Spearman, and regret."""
    from scipy.stats import spearmanr

    error = predicted - measured
    varies = np.ptp(predicted) > 0 and np.ptp(measured) > 0
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(error.mean()),
        "centred_rmse": float(error.std()),
        "spearman": float(spearmanr(predicted, measured).statistic) if varies else 0.0,
        "regret": float(measured[predicted.argmin()] - measured.min()),
    }


def choose(trials: Sequence[Trial], law: str, num_targets: int, num_scales: int) -> str:
    """The law asked for; for `auto` that of least error on the largest scale, in units of how the losses vary there.

    Of laws that are as good the one with fewer parameters is taken, which is earlier in LAWS.

    Raises:
        InputError: If the law does not apply to every target.
    """
    complete = [name for name in LAWS if sum(trial.law == name for trial in trials) == num_targets]
    if law != "auto":
        if law not in complete:
            raise InputError(
                f"law: {law} is of a target's own domain, and a target is no domain's loss; take another law"
            )
        return law
    if num_scales < 3:
        return "additive"

    def error(name: str) -> float:
        parts = []
        for trial in trials:
            if trial.law == name:
                there = np.isfinite(trial.measured)
                scale = max(float(np.std(trial.measured[there])), 1e-12)
                parts.append(measures(trial.predicted.mean[there], trial.measured[there])["rmse"] / scale)
        return float(np.mean(parts))

    errors = {name: error(name) for name in complete}
    return next(name for name in complete if errors[name] <= CLOSE * min(errors.values()))


def widening(trials: Sequence[Trial], law: str) -> float:
    """By what intervals must be stretched so that they would have held 90% of the losses of the largest scale."""
    ratios = []
    for trial in trials:
        if trial.law == law:
            p, there = trial.predicted, np.isfinite(trial.measured)
            error = (trial.measured - p.mean)[there]
            half = np.where(error < 0, (p.mean - p.low)[there], (p.high - p.mean)[there])
            ratios.append(np.abs(error) / np.maximum(half, 1e-12))
    return max(1.0, float(np.quantile(np.concatenate(ratios), 0.9)))


def _law_rows(sweep: Sweep, trials: Sequence[Trial], chosen: str) -> list[dict[str, Any]]:
    """Rows of scaling_laws.csv: laws and naive guesses on the largest scale, which none of them saw.

    `shifted`: the next smaller scale's own losses, moved to the right mean, which nobody knows beforehand (so its bias is
    0). `same_drop`: those moved by as much as the last step between the scales below moved them.
    """
    last = len(sweep.scales) - 1
    name, smaller = sweep.scales[last].name, sweep.at(last - 1)
    rows: list[dict[str, Any]] = []
    for trial in trials:
        there = np.isfinite(trial.measured)
        p, y = trial.predicted, trial.measured[there]
        held: object = float(np.mean((p.low[there] <= y) & (y <= p.high[there]))) if trial.law == chosen else ""
        found: dict[str, Any] = {**measures(p.mean[there], y), "covered": held}
        rows.append(_law_row(trial.law, sweep.targets[trial.target], name, p.num_runs, p.rmse, len(y), found, chosen))
    for t in sorted({trial.target for trial in trials}):
        measured = sweep.at(last)[:, t]
        there = np.isfinite(measured) & np.isfinite(smaller[:, t])
        if there.sum() < FEWEST:
            continue
        y, own = measured[there], smaller[there, t]
        guesses = {"shifted": own + (y.mean() - own.mean())}
        if last > 1:
            before = sweep.at(last - 2)[:, t]
            step = np.nanmean((smaller[:, t] - before)[np.isfinite(smaller[:, t] - before)])
            guesses["same_drop"] = own + step
        for guess, values in guesses.items():
            found = {**measures(values, y), "covered": ""}
            rows.append(_law_row(guess, sweep.targets[t], name, 0, "", len(y), found, chosen))
    return rows


def _law_row(
    law: str, target: str, scale: str, num_runs: int, rmse: object, num: int, found: Mapping[str, Any], chosen: str
) -> dict[str, Any]:
    return {
        "law": law,
        "target": target,
        "fitted_runs": num_runs,
        "fitted_rmse": rmse,
        "held_out_scale": scale,
        "held_out_runs": num,
        **{key: found[key] for key in MEASURES},
        "chosen": "yes" if law == chosen else "no",
    }


def _target(measured: Sequence[Scale], params: int | None, tokens: int | None) -> tuple[float, float] | None:
    """The size to predict for, if one is asked for.

    Raises:
        InputError: If it differs from the scales in something that is the same at all of them.
    """
    if params is None and tokens is None:
        return None
    largest = measured[-1]
    for name, value, sizes in (
        ("target_params", params, {s.params for s in measured}),
        ("target_tokens", tokens, {s.tokens for s in measured}),
    ):
        if value is not None and value <= 0:
            raise InputError(f"{name} is {value}; a number above 0 is wanted")
        if value is not None and len(sizes) == 1 and value not in sizes:
            what = name.removeprefix("target_")
            raise InputError(
                f"{name} is {value:,}, and all scales have {what} {sizes.pop():,.0f}: nothing says what {what} do. Give scales "
                f"of different {what}, or leave {name} out"
            )
    return params or largest.params, tokens or largest.tokens


def _write_target(out: Path, sweep: Sweep, targets: Sequence[str], predicted: Sequence[Predicted]) -> None:
    """predictions.csv, target_mixtures.csv and target_losses.csv."""
    largest = sweep.at(len(sweep.scales) - 1)
    rows: list[list[object]] = []
    for target, p in zip(targets, predicted, strict=True):
        measured = largest[:, sweep.targets.index(target)]
        for i, key in enumerate(sweep.keys):
            seen = float(measured[i]) if np.isfinite(measured[i]) else ""
            rows.append([key, target, seen, *(float(v[i]) for v in (p.mean, p.low, p.high))])
    write_table(out / "predictions.csv", ["index", "target", "largest_scale", "predicted", "low", "high"], rows)
    means = np.column_stack([p.mean for p in predicted])
    for name, header, values in (
        ("target_mixtures.csv", [f"train_{domain}" for domain in sweep.domains], sweep.weights),
        ("target_losses.csv", list(targets), means),
    ):
        table = [[key, *map(float, row)] for key, row in zip(sweep.keys, values, strict=True)]
        write_table(out / name, ["index", *header], table)


def _say_agreement(rows: Sequence[Mapping[str, Any]]) -> None:
    first = rows[0]["target"]
    for row in rows:
        if row["target"] == first:
            tenth = round(row["top_tenth"] * max(1, row["num_mixtures"] // 10))
            say(
                f"{row['smaller']} -> {row['larger']}, {loss_domain(first)}, {row['num_mixtures']} mixtures: Spearman "
                f"{row['spearman']:.3f} ({row['spearman_low']:.3f} to {row['spearman_high']:.3f}); "
                f"{tenth} of its best {max(1, row['num_mixtures'] // 10)} are the smaller's; "
                f"picking by the smaller costs {row['regret']:.4f} ({row['regret_low']:.4f} to {row['regret_high']:.4f})"
            )
    for verdict, word in (("low", "IS LOW"), ("uncertain", "may be low")):
        bad = [row for row in rows if row["verdict"] == verdict]
        if bad:
            shown = [
                f"{loss_domain(r['target'])} {r['smaller']} -> {r['larger']} {r['spearman']:.2f} "
                f"({r['spearman_low']:.2f} to {r['spearman_high']:.2f})"
                for r in sorted(bad, key=lambda r: r["spearman"])
            ]
            loud = "WARNING: " if verdict == "low" else ""
            say(
                f"{loud}rank agreement {word} (Spearman under {LOW:g}{'' if verdict == 'low' else ' is within its interval'}): "
                f"{some(shown, 4)}. "
                + (
                    "A mixture that is best for the smaller proxies need not be for larger models: train more tokens or "
                    "larger proxies before trusting an optimum"
                    if verdict == "low"
                    else "More common mixtures would tell"
                )
            )


def _say_laws(sweep: Sweep, rows: Sequence[Mapping[str, Any]], chosen: str) -> None:
    last = sweep.scales[-1]
    say(f"laws, on {last.name} held out (mean over targets):   error    Spearman   regret")
    for name in dict.fromkeys(row["law"] for row in rows):
        own = [row for row in rows if row["law"] == name]
        values = [float(np.mean([row[key] for row in own])) for key in ("rmse", "spearman", "regret")]
        words = {"shifted": "the smaller scale, at the right mean", "same_drop": "the smaller scale, same drop again"}
        mark = "  <- used" if name == chosen else ""
        say(f"  {words.get(name, name):<40}{values[0]:>16.4f}{values[1]:>12.3f}{values[2]:>9.4f}{mark}")
    if len(sweep.scales) > 2:
        say(f"  ({chosen} was chosen by its error there, which makes it look a little better than it is)")
    else:
        say(
            "Two scales: the error of a level cannot be tried, since one scale alone says nothing about size. A third scale "
            "would tell how far the laws hold"
        )


def _say_target(
    measured: Sequence[Scale], target: tuple[float, float], chosen: str, widened: float | None, out: Path
) -> None:
    largest = measured[-1]
    times = target[0] / largest.params, target[1] / largest.tokens
    below = measured[-2]
    say(
        f"The target ({target[0]:,.0f} parameters, {target[1]:,.0f} tokens) has {times[0]:.3g} times the parameters and "
        f"{times[1]:.3g} times the tokens of {largest.name}, the largest scale, which itself has "
        f"{largest.params / below.params:.3g} and {largest.tokens / below.tokens:.3g} times those of {below.name}"
    )
    if max(times) > FAR:
        say(
            f"WARNING: a step of {max(times):.3g} times is far beyond what was measured; trust the ranking more than the "
            "level, and neither without a run in between"
        )
    if widened is None:
        say("The intervals rest on what exponents of size are usual, since two scales cannot tell them")
    elif widened > 1:
        say(
            f"The intervals are {widened:.2g} times as wide as the law's own, which held too few of {largest.name}'s losses"
        )
    say(
        f"{out}/target_losses.csv: by the {chosen} law. Next: proxymix fit --mixtures {out}/target_mixtures.csv --losses {out}/target_losses.csv"
    )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(scales)
