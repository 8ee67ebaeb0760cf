"""What a study holds -> the report's figures: the table behind each, and its words for those who do not see it."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from proxymix.plots.figures import Figure, percent, signed
from proxymix.schemas import loss_domain
from proxymix.tables import read_table
from regression.confirm import PROPOSAL, WORDS
from regression.confirmation.paired import interval
from regression.reporting import figures, pictures
from regression.reporting.study_results import Evidence
from regression.selection.metrics import OBJECTIVE
from regression.selection.repeats import noise_floor

if TYPE_CHECKING:
    import pandas as pd

MOST_CURVES = 100  # lines of a figure; more of them hide each other


def mixtures_figure(found: Evidence) -> Figure | None:
    """The optimum beside the prior and the heuristic, with intervals where `propose` gave them."""
    import pandas as pd

    if not found.optimum:
        return None
    columns = {"prior": found.prior, "weight": found.optimum}
    if (proposed := found.proposed("weights")) is not None:
        columns |= {end: dict(zip(proposed["domain"], proposed[end], strict=True)) for end in ("low", "high")}
    columns["heuristic"] = found.heuristic
    table = pd.DataFrame({"domain": found.domains})
    for name, weights in columns.items():
        if weights:
            table[name] = [weights.get(d, 0.0) for d in found.domains]
    largest = max(found.optimum, key=lambda d: found.optimum[d])
    alt = f"Weights per domain. The largest of the optimum is {largest} with {percent(found.optimum[largest])}."
    return Figure("mixtures", table, pictures.mixture_bars, alt, pictures.rows_height(len(table)))


def near_optimal_figure(found: Evidence) -> Figure | None:
    """Which weights the mixtures as good as the proposal share, and which differ among them."""
    near, weights = found.proposed("near_optimal"), found.proposed("weights")
    if near is None or weights is None:
        return None
    table = pictures.near_optimal_ranges(near, _by_domain(weights, found))
    table.attrs["num_mixtures"] = len(near)
    widest = _largest(table, table["most"] - table["least"])
    alt = f"Ranges of weights over {len(near)} mixtures as good as the proposal; the widest is that of {widest['domain']}, "
    alt += f"{percent(widest['least'])} to {percent(widest['most'])}."
    height = pictures.rows_height(len(table))
    return Figure("near_optimal", table, pictures.near_optimal_set, alt, height, narrow_height=height + 40)


def epochs_figure(found: Evidence) -> Figure | None:
    """How often the final training would repeat each domain."""
    table = found.proposed("epochs")
    if table is None:
        return None
    table = _by_domain(table, found)
    most = _largest(table, table["epochs"])
    alt = (
        f"Epochs of the final training over each domain; {most['domain']} is repeated most, {most['epochs']:.2f} times."
    )
    return Figure("epochs", table, pictures.epochs_at_budget, alt, pictures.rows_height(len(table)))


def gains_figure(found: Evidence) -> Figure | None:
    """What the proposal is predicted to gain over each baseline, and what independent regressions see."""
    table = found.proposed("gains")
    if table is None:
        return None
    alt = "; ".join(
        f"over {WORDS.get(row['baseline'], row['baseline'])} {signed(row['gain'])}"
        + (f", {signed(row['judged'])} as judged" if np.isfinite(row["judged"]) else "")
        for row in table.to_dict("records")
    )
    height = 96 + 44 * len(table)
    return Figure(
        "gains",
        _with_unit(table, found),
        pictures.predicted_gains,
        f"Predicted gain {alt}.",
        height,
        narrow_height=height + 50,
    )


def line_figure(found: Evidence) -> Figure | None:
    """The predicted objective on the way from the prior to the optimum."""
    table = found.proposed("line")
    if table is None:
        return None
    first, last = (_largest(table, -(table["step"] - end).abs())["mean"] for end in (0, 1))
    alt = f"Predicted objective along the line from the prior, {first:.3f}, to the optimum, {last:.3f}."
    return Figure("line", _with_unit(table, found), pictures.line_to_optimum, alt, 320)


def differences_figure(found: Evidence) -> Figure | None:
    """Measured differences between the proposal and every baseline."""
    import pandas as pd

    if found.confirmed is None:
        return None
    by_seed = found.confirmed.pivot(index="seed", columns="mixture", values="objective")
    rows = [
        {
            "baseline": name,
            **{key: difference["objective"][key] for key in ("mean", "low", "high")},
            "better": name in found.confirmation["better_than"],
            **{f"seed_{seed}": row[PROPOSAL] - row[name] for seed, row in by_seed.iterrows()},
        }
        for name, difference in found.confirmation["differences"].items()
    ]
    table = _with_unit(pd.DataFrame(rows), found)
    alt = "; ".join(
        f"against {WORDS[row['baseline']]} {signed(row['mean'])}, 95% interval {signed(row['low'])} to {signed(row['high'])}"
        for row in rows
    )
    return Figure(
        "differences", table, figures.paired_differences, f"Proposal minus baseline: {alt}.", 70 + 62 * len(rows)
    )


def seeds_figure(found: Evidence) -> Figure | None:
    """What every seed measured at every mixture, beside the prediction."""
    if found.confirmed is None:
        return None
    table = found.confirmed[["mixture", "seed", "objective"]].rename(columns={"objective": "measured"})
    mixtures = found.confirmation["mixtures"]
    table["predicted"] = [mixtures[name]["predicted"]["mean"] for name in table["mixture"]]
    alt = "; ".join(f"{pictures.NAMES[name]} {entry['measured']['mean']:.3f}" for name, entry in mixtures.items())
    return Figure(
        "seeds",
        _with_unit(table, found),
        figures.seed_dots,
        f"Measured objective, mean over seeds: {alt}.",
        90 + 34 * len(mixtures),
    )


def domain_changes_figure(found: Evidence) -> Figure | None:
    """What the proposal changes on every validation domain, against the prior."""
    import pandas as pd

    if found.confirmed is None or "prior" in found.confirmation["mixtures"][PROPOSAL].get("same_as", ""):
        return None
    columns = [c for c in found.confirmed.columns if loss_domain(c) != c]
    order = [t for t in found.targets if t in columns] + [c for c in columns if c not in found.targets]
    at = {name: rows.set_index("seed")[order] for name, rows in found.confirmed.groupby("mixture")}
    change = at[PROPOSAL] - at["prior"]
    rows = [(loss_domain(c), float(change[c].mean()), *interval(change[c].to_numpy())) for c in order]
    table = pd.DataFrame(rows, columns=["domain", "mean", "low", "high"])
    alt = "; ".join(f"{name} {signed(mean)}" for name, mean, _, _ in rows)
    return Figure(
        "domain_changes",
        table,
        figures.domain_changes,
        f"Proposal minus prior per domain: {alt}.",
        _rows_height(len(table), 24),
    )


def predicted_figure(found: Evidence) -> Figure | None:
    """Out-of-fold predictions of the objective against measurements."""
    import pandas as pd

    objective = out_of_fold_objective(found)
    if objective is None:
        return None
    table = objective.assign(kind="out of fold")
    confirmed = [
        {"kind": name, "index": "", "measured": entry["measured"]["mean"], "predicted": entry["predicted"]["mean"]}
        for name, entry in found.confirmation.get("mixtures", {}).items()
    ]
    table = pd.DataFrame([*table.to_dict("records"), *confirmed], columns=["kind", *objective.columns])
    table.attrs["spearman"] = rank_text(found, objective)
    table.attrs["noise"] = noise_floor(found.runs, found.objective).get(OBJECTIVE)
    alt = f"Predicted against measured objective of {len(objective)} runs out of fold, Spearman {table.attrs['spearman']}."
    return Figure(
        "predicted", _with_unit(table, found), pictures.predicted_against_measured, alt, height=500, narrow_height=400
    )


def rank_text(found: Evidence, objective: "pd.DataFrame") -> str:
    """Spearman of held-out predictions: over repeated splits as scores.csv has it, else of the predictions at hand."""
    scores = found.scores
    if scores is not None and found.fit is not None and found.fit.objective.minimise == found.objective.minimise:
        row = scores[(scores["model"] == found.fit.model) & (scores["target"] == OBJECTIVE)].iloc[0]
        return f"{row['spearman']:.3f}" + (f" ± {row['spearman_sd']:.3f}" if row["spearman_sd"] > 0 else "")
    return f"{figures.spearman(objective['predicted'], objective['measured']):.3f}"


def sensitivity_figure(found: Evidence) -> Figure | None:
    """What the regression says about moving each domain away from the optimum."""
    import pandas as pd

    if not found.optimum or found.fit is None:
        return None
    optimum = np.array([found.optimum.get(d, 0.0) for d in found.fit.domains])
    step = 0.5 / len(optimum)
    moved = [moved_weight(optimum, j, sign * step) for j in range(len(optimum)) for sign in (1, -1)]
    objective, _ = found.fit.predict_objective(np.stack([optimum, *moved]), found.objective)
    change = (objective[1:] - objective[0]).reshape(-1, 2)
    order = [found.fit.domains.index(d) for d in found.domains]
    table = pd.DataFrame({"domain": found.domains, "more": change[order, 0], "less": change[order, 1]})
    table.attrs["step"] = step
    steepest = found.domains[int(table["less"].argmax())]
    return Figure(
        "sensitivity",
        _with_unit(table, found),
        pictures.sensitivity,
        f"Change of the predicted objective when a domain moves; less of {steepest} costs most.",
        pictures.rows_height(len(table)),
    )


def correlation_figure(found: Evidence) -> Figure:
    """Rank correlations between weights and losses over the sweep."""
    import pandas as pd

    runs = found.runs
    losses = pd.DataFrame(runs.losses, columns=runs.targets)[found.targets]
    if len(found.targets) > 1:
        losses.insert(0, OBJECTIVE, found.objective.value(runs.losses), allow_duplicates=True)
    weights = pd.DataFrame(runs.weights, columns=runs.domains)[found.domains]
    values = correlations(weights.to_numpy(), losses.to_numpy())
    table = _pairs(values.T, list(losses.columns), found.domains, "correlation")
    alt = f"Rank correlation between the weight of each domain and each loss over {len(runs.index)} runs."
    if np.isfinite(values).any():
        strongest = _largest(table, table["correlation"].abs())
        alt += f" The strongest is {strongest['domain']} on {loss_domain(strongest['target'])}, {signed(strongest['correlation'], 2)}."
    return Figure("correlation", table, pictures.correlation_map, alt, *pictures.heat_map_size(table))


def effects_figure(found: Evidence) -> Figure | None:
    """What each domain does to each loss, as the regression has learnt it."""
    if found.effects is None or found.effects["effect"].isna().all():
        return None
    wide = pictures.wide_table(found.effects, "effect").reindex(index=found.domains, columns=found.targets)
    values, targets = wide.to_numpy(dtype=float), [*found.targets]
    if len(targets) > 1 and not found.objective.worst:
        weights = dict(zip(found.runs.targets, found.objective.weights, strict=True))
        values = np.column_stack([values @ [weights[t] for t in targets], values])
        targets = [OBJECTIVE, *targets]
    table = _pairs(values.T, targets, found.domains, "effect")
    table.attrs["unit"] = found.loss_unit
    largest = _largest(table, table["effect"].abs())
    alt = f"Learnt effect of each domain on each loss. The largest is that of {largest['domain']} on "
    alt += f"{loss_domain(largest['target'])}, {signed(largest['effect'])}."
    return Figure("effects", table, pictures.effect_map, alt, *pictures.heat_map_size(table))


def rank_curve_figure(found: Evidence) -> Figure | None:
    """How well fits to fewer runs rank the others."""
    if found.learning_curve is None:
        return None
    table = (
        pictures.with_extrapolation(found.learning_curve, len(found.runs.index))
        .drop(columns="regret")
        .dropna(subset="spearman")
    )
    alt = f"Spearman on the runs left out against the runs fitted, up to {found.learning_curve['num_runs'].max()}, and extrapolated."
    return Figure("learning_rank", table, pictures.rank_against_runs, alt, 300)


def regret_curve_figure(found: Evidence) -> Figure | None:
    """How far the picks of fits to fewer runs are off the best run."""
    if found.learning_curve is None:
        return None
    table = (
        pictures.with_extrapolation(found.learning_curve, len(found.runs.index))
        .drop(columns="spearman")
        .dropna(subset="regret")
    )
    alt = f"Regret of the run picked against the runs fitted, up to {found.learning_curve['num_runs'].max()}, and extrapolated."
    return Figure("learning_regret", _with_unit(table, found), pictures.regret_against_runs, alt, 300)


def curves_figure(found: Evidence) -> Figure | None:
    """The objective over training, for the sweep, the prior and the proposal."""
    import pandas as pd

    folders = found.run_folders
    evenly = (
        sorted({round(i) for i in np.linspace(0, len(folders) - 1, min(len(folders), MOST_CURVES))}) if folders else []
    )
    chosen = [("sweep", folders[i]) for i in evenly]
    mixtures = found.confirmation.get("mixtures", {})
    for name in ("prior", PROPOSAL):
        trained = mixtures.get(name, {}).get("same_as", name)
        chosen += [
            (name, found.folder / "confirmation" / f"{trained}-s{seed}") for seed in found.confirmation.get("seeds", [])
        ]
    parts = []
    for group, folder in chosen:
        if not (folder / "metrics.csv").exists():
            continue
        table = read_table(folder / "metrics.csv")
        if not set(found.runs.targets) <= set(table.columns):
            return None
        table = table.dropna(subset=found.runs.targets)
        parts.append(
            pd.DataFrame(
                {"run": folder.name, "group": group, "tokens": table["tokens"], "objective": found.objective_of(table)}
            )
        )
    if not parts or max(len(part) for part in parts) < 2:
        return None
    table = pd.concat(parts, ignore_index=True)
    table.attrs["halfway"] = halfway_rank(table[table["group"] == "sweep"])
    alt = f"The objective over training tokens for {len(evenly)} runs of the sweep, the prior and the proposal."
    return Figure("curves", _with_unit(table, found), figures.loss_curves, alt, height=360)


def halfway_rank(table: "pd.DataFrame") -> float:
    """Rank correlation over runs between the objective halfway through training and at its end."""
    at = table.pivot_table(index="run", columns="tokens", values="objective").dropna(axis="columns")
    tokens = at.columns.to_numpy(dtype=float)
    return (
        figures.spearman(at.iloc[:, np.abs(tokens - tokens.max() / 2).argmin()], at.iloc[:, -1])
        if len(tokens)
        else math.nan
    )


def noise_figure(found: Evidence) -> Figure | None:
    """Spread of losses over mixtures beside their seed noise."""
    import pandas as pd

    if not found.confirmation:
        return None
    noise = found.confirmation["noise"]
    entries = [("objective", noise["objective"])]
    entries += [(loss_domain(t), noise["targets"][t]) for t in found.targets if t in noise["targets"]]
    rows = [(name, e["over_mixtures"], e["over_seeds"], e["ratio"]) for name, e in entries if "ratio" in e]
    if not rows or rows[0][0] != "objective":
        return None
    table = pd.DataFrame(rows, columns=["target", "spread", "noise", "ratio"])
    table.attrs["unit"] = found.loss_unit
    if found.objective.worst:
        table.attrs["unit"] += ", objective in standard deviations of the sweep"
    alt = f"Spread over mixtures is {rows[0][3]:.3g} times the seed noise on the objective."
    return Figure("noise", table, figures.noise_ratio, alt, _rows_height(len(rows), 24))


FIGURES = (
    mixtures_figure,
    near_optimal_figure,
    epochs_figure,
    gains_figure,
    line_figure,
    differences_figure,
    seeds_figure,
    domain_changes_figure,
    predicted_figure,
    rank_curve_figure,
    regret_curve_figure,
    sensitivity_figure,
    effects_figure,
    correlation_figure,
    curves_figure,
    noise_figure,
)


def out_of_fold_objective(found: Evidence) -> "pd.DataFrame | None":
    """index, measured and predicted objective of every run (and std), predicted by fits that have not seen it.

    Put together from the targets, since a fit's own objective need not be the one that the proposal was asked for.
    """
    import pandas as pd

    table = found.out_of_fold
    if table is None:
        return None
    kinds = {kind: table.pivot(index="index", columns="target", values=kind) for kind in ("measured", "predicted")}
    objective = {kind: found.objective_of(values) for kind, values in kinds.items()}
    sums = pd.DataFrame(objective, index=kinds["measured"].index).reset_index()
    if found.fit is None or found.fit.objective.minimise != found.objective.minimise:
        return sums  # how sure the fit was of its own objective says nothing about another
    std = table[table["target"] == OBJECTIVE].set_index("index")["std"]
    return sums.assign(std=sums["index"].map(std))


def moved_weight(weights: np.ndarray, position: int, step: float) -> np.ndarray:
    """A mixture with one weight moved by `step` (kept within 0 and 1), the others in their own proportions."""
    weight = float(np.clip(weights[position] + step, 0, 1))
    rest = 1 - weights[position]
    others = np.ones_like(weights) / (len(weights) - 1) if rest <= 0 else weights / rest
    moved = others * (1 - weight)
    moved[position] = weight
    return moved / moved.sum()


def correlations(weights: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Spearman's correlations, shape (num_domains, num_targets); not a number where a column does not vary."""
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=0) for values in (weights, losses))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (a.T @ b) / np.sqrt((a**2).sum(axis=0)[:, None] * (b**2).sum(axis=0))


def _largest(table: "pd.DataFrame", size: "pd.Series[Any]") -> dict[Any, Any]:
    """The row whose size is the largest."""
    return table.to_dict("records")[int(np.nanargmax(size.to_numpy(dtype=float)))]


def _by_domain(table: "pd.DataFrame", found: Evidence) -> "pd.DataFrame":
    return table.set_index("domain").loc[found.domains].reset_index()


def _pairs(values: np.ndarray, targets: list[str], domains: list[str], name: str) -> "pd.DataFrame":
    """Values of shape (num_targets, num_domains) -> rows of (target, domain, value)."""
    import pandas as pd

    pairs = [(target, domain) for target in targets for domain in domains]
    return pd.DataFrame(pairs, columns=["target", "domain"]).assign(**{name: values.ravel()})


def _with_unit(table: "pd.DataFrame", found: Evidence) -> "pd.DataFrame":
    table.attrs["unit"] = found.objective.unit
    return table


def _rows_height(num_rows: int, each: int) -> int:
    return 96 + (each if num_rows <= 24 else 17) * num_rows
