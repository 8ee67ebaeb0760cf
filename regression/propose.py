"""A regression -> optimal_mixture.yaml: the mixture of lowest predicted objective among those that the data can feed.

python regression/propose.py --fit regression --domains domains.csv --budget 25000000000 --out optimal_mixture.yaml
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.simplex import dirichlet, draw_candidates, epoch_bounds, project, scale_into
from proxymix.cli import run
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.progress import progress, say
from proxymix.schemas import Domain, loss_domain, read_domains, read_mixture, read_tokens_manifest, write_mixture
from regression.fit import ROWS_AT_ONCE, Fit, load_fit
from regression.objective import describe_objective, objective_weights, resolved_objective
from regression.table import align_domains

NORMAL_95 = 1.959964  # standard deviations to either side that hold 95% of a normal distribution
FEASIBLE = 1e-9

Score = Callable[[np.ndarray], np.ndarray]


def propose(
    fit: Path,
    out: Path,
    domains: Path | None = None,
    budget: int | None = None,
    max_epochs: float | None = 4.0,
    objective: str | dict[str, float] | None = None,
    heuristic: Path | None = None,
    tokens: Path | None = None,
    num_candidates: int = 100_000,
    top: int = 128,
    caution: float = 0.5,
    seed: int = 0,
) -> None:
    """Search the regression for the mixture of lowest objective that the data can feed.

    Candidates are drawn around the prior as RegMix does, over all of the simplex, and around the best runs; the mean of
    the best is the proposal, since the best single one is the luckiest. Where the regression knows how uncertain it is,
    candidates compete by prediction plus uncertainty, and the proposal is refined by ever closer draws around it. A fit
    with the preset regmix is searched exactly as RegMix's notebook does.

    Args:
        fit: Folder of the regression (`proxymix fit`).
        out: The mixture to write, in RegMix's keys, with what is predicted of it and of the baselines.
        domains: Table of the domains and their tokens (domains.csv), for the prior and the caps.
        budget: Tokens of the final training; with max_epochs it caps what a domain can take.
        max_epochs: Most passes of the final training over a domain's tokens (4 costs little, arXiv:2305.16264).
        objective: What is to be low: mean, a loss column or its domain, {domain: weight}, or a YAML of such weights;
            that of the fit when left out.
        heuristic: A heuristic mixture to compare with.
        tokens: Folder of token shards, whose hashes go into the file.
        num_candidates: Candidates drawn before the refinement.
        top: How many of the best candidates are averaged.
        caution: Standard deviations of the regression that are added to a prediction before candidates compete; 0
            trusts it where no run was trained.
        seed: Seed of the draws.

    Raises:
        InputError: If the domains differ from the fit's, or no mixture can feed the budget.
    """
    if budget is not None and domains is None:
        raise InputError(f"budget is {budget:,} tokens, and the tokens of the domains are unknown; give --domains")
    if not 1 <= top <= num_candidates:
        raise InputError(f"top is {top}; it can be 1 to num_candidates, {num_candidates}")
    if not caution >= 0:
        raise InputError(f"caution is {caution:g}; 0 or more standard deviations are wanted")
    fitted = load_fit(fit)
    objective = fitted.objective if objective is None else resolved_objective(objective, fitted.targets)
    weights = objective_weights(objective, fitted.targets)
    catalogue = _catalogue(domains, fitted.domains)
    prior = np.array([domain.prior for domain in catalogue]) if catalogue else fitted.runs.weights.mean(axis=0)
    counts = np.array([domain.tokens for domain in catalogue], dtype=float)
    upper = np.ones(len(fitted.domains))
    if budget is not None and max_epochs is not None:
        try:
            upper = epoch_bounds(counts, budget, max_epochs)
        except InputError as error:
            raise InputError(f"{domains}: {error}") from None
    rng = np.random.default_rng(seed)
    if fitted.preset == "regmix":
        proposal = regmix_search(fitted, weights, prior, upper, num_candidates, top, rng)
    else:
        proposal = search(fitted, weights, prior, upper, num_candidates, top, caution, rng)
    assert abs(proposal.sum() - 1) < FEASIBLE
    assert (proposal >= 0).all()
    assert (proposal <= upper + FEASIBLE).all()

    baselines = _baselines(fitted, weights, prior, heuristic, has_prior=bool(catalogue))
    extra: dict[str, Any] = {
        "model_name": "proxymix",
        "objective": objective,
        "asked": describe_objective(objective, fitted.targets),
        **_predicted(fitted, weights, proposal, baselines, upper),
    }
    if catalogue and budget is not None:
        extra |= {
            "budget": budget,
            "max_epochs": max_epochs,
            "epochs": _mapping(fitted.domains, _epochs(proposal, counts, budget)),
            "caps": _mapping(fitted.domains, upper),
        }
    extra["regression"] = {"model": fitted.model, "num_runs": len(fitted.runs.index), "inputs": fitted.inputs}
    extra["search"] = {"num_candidates": num_candidates, "top": top, "caution": caution, "seed": seed}
    if tokens is not None:
        manifest = read_tokens_manifest(tokens)
        extra["tokenizer"] = {key: manifest.tokenizer[key] for key in ("name", "sha256") if key in manifest.tokenizer}
        extra["data"] = {"manifest_sha256": sha256(Path(tokens) / "manifest.json")}
    validated = [d for d in map(loss_domain, fitted.targets) if d in fitted.domains]
    write_mixture(out, _mapping(fitted.domains, proposal), extra, validated or None)
    _say_proposal(extra)


def search(
    fitted: Fit,
    weights: np.ndarray,
    prior: np.ndarray,
    upper: np.ndarray,
    num_candidates: int,
    top: int,
    caution: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """The mean of the best candidates, refined where the regression knows its uncertainty.

    The score is the predicted objective plus `caution` standard deviations of the curve, for the tenth of lowest
    prediction. On six subsets of 32 and of 64 of RegMix's runs, judged by regressions of 384 others, half a standard
    deviation against none costs .010 on Pile-CC, of a gain of .34 over the mean mixture, and adds .003 on the mean of 13
    losses, to a gain of .02; a whole one costs .022 and adds .003. Judges extrapolate too, hence not none.

    Args:
        fitted: The regression.
        weights: Of the objective over its targets.
        prior: Around which half of the candidates are drawn, shape (num_domains,).
        upper: Caps, shape (num_domains,).
        num_candidates: How many are drawn.
        top: How many are averaged.
        caution: Standard deviations added to the prediction.
        rng: Where the draws come from.

    Returns:
        Weights, shape (num_domains,): sum 1, within [0, upper].
    """

    def score(X: np.ndarray) -> np.ndarray:
        mean, std = fitted.predict_objective(X, weights, noise=False)
        return mean + caution * std

    measured = fitted.runs.losses @ weights
    best_runs = fitted.runs.weights[np.argsort(measured, kind="stable")[: max(3, len(measured) // 10)]]
    X = _candidates(rng, num_candidates, prior, upper, best_runs)
    X, _ = _best(X, lambda X: fitted.mean_objective(X, weights), max(top, len(X) // 10))
    pool, scores = _best(X, score, top)
    if fitted.regressors[0].knows_std:  # trees are flat between thresholds: closer draws would only find their edges
        pool = _refine(pool, scores, score, upper, rng)
    return np.asarray(project(pool.mean(axis=0), 0.0, upper))


def regmix_search(
    fitted: Fit,
    weights: np.ndarray,
    prior: np.ndarray,
    upper: np.ndarray,
    num_candidates: int,
    top: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """RegMix's simulation: Dirichlet(prior) draws, the mean of those predicted best. Arguments as of `search`."""
    center = np.maximum(prior, 1e-9)
    draws = scale_into(dirichlet(rng, center / center.sum(), np.ones(num_candidates)), center, 0 * upper, upper)
    pool, _ = _best(draws, lambda X: fitted.mean_objective(X, weights), top)
    return np.asarray(project(pool.mean(axis=0), 0.0, upper))


def _candidates(
    rng: np.random.Generator, num: int, prior: np.ndarray, upper: np.ndarray, best_runs: np.ndarray
) -> np.ndarray:
    """Half around the prior (RegMix's law), a quarter over the whole simplex, a quarter around the best runs.

    An optimum far from the prior is out of reach of RegMix's law: on its own runs that search gains nothing on the mean
    of 13 losses over the human mixture, 4.674 against 4.675, where a wide one reaches 4.62.
    """
    num_domains = len(prior)
    wide, near = num // 4, num // 4
    uniform = np.full(num_domains, 1 / num_domains)
    centers = 0.95 * best_runs[rng.integers(len(best_runs), size=near)] + 0.05 * uniform
    strengths = np.exp(rng.uniform(np.log(5), np.log(500), near))
    around = np.vstack([dirichlet(rng, c, s[None]) for c, s in zip(centers, strengths, strict=True)])
    return np.vstack([
        draw_candidates(rng, num - wide - near, prior, 0.0, upper),
        draw_candidates(rng, wide, uniform, 0.0, upper, min_strength=0.2 * num_domains, max_strength=5.0 * num_domains),
        scale_into(around, uniform, np.zeros(num_domains), upper),
    ])  # fmt: skip


def _best(X: np.ndarray, score: Score, top: int) -> tuple[np.ndarray, np.ndarray]:
    scores = np.empty(len(X))
    with progress("search", total=len(X), unit="candidates") as bar:
        for start in range(0, len(X), ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            scores[rows] = score(X[rows])
            bar.advance(len(X[rows]))
    order = np.argsort(scores, kind="stable")[:top]
    return X[order], scores[order]


def _refine(
    pool: np.ndarray, scores: np.ndarray, score: Score, upper: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw ever closer around the mean of the pool and keep the best: the cross-entropy method on the simplex."""
    uniform = np.full(pool.shape[1], 1 / pool.shape[1])
    for strength in np.geomspace(20, 20_000, 30):
        center = pool.mean(axis=0)
        draws = dirichlet(rng, 0.99 * center + 0.01 * uniform, np.full(256, strength))
        draws = np.vstack([pool, center, scale_into(draws, uniform, 0 * upper, upper)])
        known = np.append(scores, score(draws[len(pool) :]))
        order = np.argsort(known, kind="stable")[:32]
        pool, scores = draws[order], known[order]
    return pool


def _catalogue(path: Path | None, domains: list[str]) -> list[Domain]:
    """The rows of domains.csv in the order of the fit's domains; none without a file."""
    if path is None:
        return []
    rows = read_domains(path)
    order = align_domains(np.arange(len(rows)), [row.domain for row in rows], domains, str(path))
    return [rows[i] for i in order]


def _baselines(
    fitted: Fit, weights: np.ndarray, prior: np.ndarray, heuristic: Path | None, has_prior: bool
) -> dict[str, np.ndarray]:
    """What the proposal is compared with; without token counts the mean of the sweep stands for the prior."""
    baselines = {"prior" if has_prior else "sweep_mean": prior}
    if heuristic is not None:
        given, _ = read_mixture(heuristic)
        baselines["heuristic"] = align_domains(
            np.array(list(given.values())), list(given), fitted.domains, str(heuristic)
        )
    baselines["uniform"] = np.full(len(prior), 1 / len(prior))
    baselines["best_seen"] = fitted.runs.weights[np.argmin(fitted.runs.losses @ weights)]
    return baselines


def _predicted(
    fitted: Fit, weights: np.ndarray, proposal: np.ndarray, baselines: dict[str, np.ndarray], upper: np.ndarray
) -> dict[str, Any]:
    """Predictions with 95% intervals: of a run at the proposal and at each baseline, and of the expected gain."""
    X = np.array(list(baselines.values()))
    mean, std = fitted.predict_objective(np.vstack([proposal, X]), weights)
    gain, gain_std = fitted.gains(X, proposal, weights)
    entries: dict[str, Any] = {}
    for i, name in enumerate(baselines):
        entries[name] = {
            "predicted": _interval(mean[i + 1], std[i + 1]),
            "gain": _interval(gain[i], gain_std[i]),
            "feasible": bool((X[i] <= upper + FEASIBLE).all()),
        }
    best = int(np.argmin(fitted.runs.losses @ weights))
    entries["best_seen"] |= {
        "run": fitted.runs.index[best],
        "measured": float(fitted.runs.losses[best] @ weights),
    }
    return {"predicted": _interval(mean[0], std[0]), "baselines": entries}


def _interval(mean: float, std: float) -> dict[str, float]:
    return {"mean": float(mean), "low": float(mean - NORMAL_95 * std), "high": float(mean + NORMAL_95 * std)}


def _epochs(proposal: np.ndarray, counts: np.ndarray, budget: int) -> np.ndarray:
    return np.where(counts > 0, proposal * budget / np.maximum(counts, 1), 0.0)


def _mapping(domains: list[str], values: np.ndarray) -> dict[str, float]:
    return {domain: float(value) for domain, value in zip(domains, values, strict=True)}


def _say_proposal(extra: dict[str, Any]) -> None:
    predicted = extra["predicted"]
    say(f"{extra['asked']}: predicted {predicted['mean']:.4f} ({predicted['low']:.4f} to {predicted['high']:.4f})")
    for name, entry in extra["baselines"].items():
        gain = entry["gain"]
        text = f"  gain over {name:<11}{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
        say(text if entry["feasible"] else f"{text}, which the data cannot feed")


if __name__ == "__main__":
    run(propose)
