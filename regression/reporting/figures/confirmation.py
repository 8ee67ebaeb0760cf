"""Figures of a confirmation: differences between mixtures, every seed, every domain, and the noise over seeds."""

from proxymix.plots.figures import Figure
from proxymix.plots.text import signed
from proxymix.schemas import is_domain_loss, loss_domain
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.confirmation.paired import t_interval
from regression.reporting.charts import confirmation as charts
from regression.reporting.charts.shared import NAMES
from regression.reporting.predictions import predicted_at
from regression.reporting.study_results import StudyResults


def differences_figure(study: StudyResults) -> Figure | None:
    """Measured differences between the proposal and every baseline."""
    import pandas as pd

    found = study.confirmation
    if found is None or study.confirmed is None:
        return None
    by_seed = study.confirmed.pivot(index="seed", columns="mixture", values="objective")
    rows = [
        {
            "baseline": name,
            **{key: getattr(compared.objective, key) for key in ("mean", "low", "high")},
            "verdict": compared.verdict,
            **{f"seed_{seed}": row[PROPOSAL] - row[name] for seed, row in by_seed.iterrows()},
        }
        for name, compared in found.differences.items()
    ]
    differences = "; ".join(
        f"against {BASELINE_PHRASES[row['baseline']]} {signed(row['mean'])}, 95% interval {signed(row['low'])} to {signed(row['high'])}"
        for row in rows
    )
    alt = f"Proposal minus baseline: {differences}."
    return Figure("differences", pd.DataFrame(rows), charts.paired_differences, alt, 70 + 62 * len(rows))


def seeds_figure(study: StudyResults) -> Figure | None:
    """What every seed measured at every mixture, beside the prediction."""
    if study.confirmation is None or study.confirmed is None:
        return None
    table = study.confirmed[["mixture", "seed", "objective"]].rename(columns={"objective": "measured"})
    mixtures = study.confirmation.mixtures
    table["predicted"] = [predicted_at(study, study.confirmation, name).mean for name in table["mixture"]]
    means = "; ".join(f"{NAMES[name]} {mixture.measured.mean:.3f}" for name, mixture in mixtures.items())
    alt = f"Measured objective, mean over seeds: {means}."
    return Figure("seeds", table, charts.seed_dots, alt, 90 + 34 * len(mixtures))


def domain_changes_figure(study: StudyResults) -> Figure | None:
    """What the proposal changes on every validation domain, against the prior."""
    import pandas as pd

    if study.confirmed is None:
        return None
    columns = [c for c in study.confirmed.columns if is_domain_loss(c)]
    order = [t for t in study.targets if t in columns] + [c for c in columns if c not in study.targets]
    at = {name: rows.set_index("seed")[order] for name, rows in study.confirmed.groupby("mixture")}
    change = at[PROPOSAL] - at["prior"]
    rows = [(loss_domain(c), float(change[c].mean()), *t_interval(change[c].to_numpy())) for c in order]
    table = pd.DataFrame(rows, columns=["domain", "mean", "low", "high"])
    table.attrs["unit"] = study.loss_unit
    alt = f"Proposal minus prior per domain: {'; '.join(f'{name} {signed(mean)}' for name, mean, _, _ in rows)}."
    return Figure("domain_changes", table, charts.domain_changes, alt, charts.ROWS.pixels(len(rows), len(rows)))


def noise_figure(study: StudyResults) -> Figure | None:
    """Spread of losses over mixtures beside their seed noise."""
    import pandas as pd

    if not study.confirmation:
        return None
    noise = study.confirmation.noise
    if noise.objective.ratio is None:
        return None
    ratios = [("objective", noise.objective)]
    ratios += [(loss_domain(t), noise.targets[t]) for t in study.targets if t in noise.targets]
    rows = [(name, r.over_mixtures, r.over_seeds, r.ratio) for name, r in ratios if r.ratio is not None]
    table = pd.DataFrame(rows, columns=["target", "spread", "noise", "ratio"])
    table.attrs["unit"] = study.loss_unit
    if study.objective.worst:
        table.attrs["unit"] += ", objective in standard deviations of the sweep"
    alt = f"Spread over mixtures is {rows[0][3]:.3g} times the seed noise on the objective."
    return Figure("noise", table, charts.noise_ratio, alt, charts.ROWS.pixels(len(rows), len(rows)))
