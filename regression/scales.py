"""Losses of the same mixtures at several proxy sizes or token counts -> do they rank alike, and what would a larger one say.

python regression/scales.py --config scales.yaml --out scales

OUT gets agreement.csv (how alike two scales rank the mixtures), scaling_laws.csv (how well laws that know the size predict a
scale they have not seen, beside naive guesses), with a target size predictions.csv, target_mixtures.csv and
target_losses.csv (as if proxies of that size had been trained: `proxymix fit` reads them), and last scales.json.
"""

import shlex
from pathlib import Path
from typing import Any, Literal

import numpy as np

from proxymix.errors import InputError
from proxymix.files import remove, write_json
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import loss_domain
from proxymix.tables import write_table
from regression.scaling.agreement import agreement
from regression.scaling.law_trials import choose_law, predict_target, try_laws, widening
from regression.scaling.matching import MatchedScales, match_scales
from regression.scaling.scale import read_scales, target_size
from regression.scaling.scale_messages import say_agreement, say_laws, say_target
from regression.scaling.scale_tables import law_rows, write_target
from regression.scaling.size_laws import LAWS

MIN_BOOTSTRAP = 20
"""Draws that an interval needs at least."""


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

    OUT/agreement.csv says whether small proxies can be trusted. If they rank mixtures unlike larger ones do, there is a
    warning. Laws of the loss in mixture and size are fitted (regression/scaling/size_laws.py has their formulas), tried on
    the largest scale held out, and used for the target size. OUT/target_losses.csv is what proxies of that size would
    measure: proxymix fit --mixtures OUT/target_mixtures.csv --losses OUT/target_losses.csv.

    Args:
        scales: Name -> a study's folder, or {mixtures, losses, params, tokens}; what is given beside a study wins.
        out: Folder to write.
        target_params: Parameters of the model to predict for; by default those of the largest scale.
        target_tokens: Tokens of the model to predict for; by default those of the largest scale.
        targets: Loss columns (or their domains); all when left out, which must then be the same at every scale.
        objective: What is to be low, of which agreement is reported beside that of every target (as in `proxymix fit`).
        law: Which law predicts. auto takes the one with the least error on the largest scale held out (the simpler of two as
            good). With two scales there is nothing to choose by, and auto takes additive.
        num_bootstrap: Draws of the mixtures behind the intervals of the laws; 95% of them are in an interval.
        seed: Same seed and settings, same files.
        workers: Processes; by default one for every core.

    Raises:
        InputError: If there are fewer than two scales, they share no mixtures, or have other domains or targets.
    """
    if num_bootstrap < MIN_BOOTSTRAP:
        raise InputError(f"num_bootstrap is {num_bootstrap}; at least {MIN_BOOTSTRAP} draws are needed for an interval")
    # ---- 1. Do the scales rank alike?
    measured = read_scales(scales, targets)
    matched = match_scales(measured)
    target = target_size(measured, target_params, target_tokens)
    rows = agreement(matched, objective, np.random.default_rng([seed, 0]))

    # ---- 2. Which law predicts the largest scale from the others?
    fitted = _fitted_targets(matched)
    trials = try_laws(matched, fitted, LAWS, 0, seed, workers)
    chosen = choose_law(trials, law, len(fitted), len(measured)) if fitted else None
    if chosen is not None:  # intervals take long, so only the chosen law has them
        trials = [trial for trial in trials if trial.law != chosen]
        trials = [*try_laws(matched, fitted, [chosen], num_bootstrap, seed, workers), *trials]

    # ---- 3. What does it say of the target size?
    remove(out / "scales.json")
    write_table(out / "agreement.csv", list(rows[0]), [tuple(row.values()) for row in rows])
    say_agreement(rows)
    content: dict[str, Any] = {
        "scales": {s.name: {"params": s.params, "tokens": s.tokens, "num_runs": len(s.runs.index)} for s in measured},
        "inputs": {s.name: s.inputs for s in measured},
        "settings": {"objective": objective, "law": law, "num_bootstrap": num_bootstrap, "seed": seed},
        "law": chosen,
    }
    if chosen is not None:
        table = law_rows(matched, trials, chosen)
        write_table(out / "scaling_laws.csv", list(table[0]), [tuple(row.values()) for row in table])
        say_laws(matched, table, chosen)
    if chosen is not None and target is not None:
        widened = widening(trials, chosen) if len(measured) > 2 else None
        predicted = predict_target(matched, fitted, chosen, target, widened or 1.0, num_bootstrap, seed, workers)
        write_target(out, matched, [matched.targets[t] for t in fitted], predicted)
        content |= {"target": {"params": target[0], "tokens": target[1]}, "intervals_widened": widened}
        content["parameters"] = {matched.targets[t]: p.parameters for t, p in zip(fitted, predicted, strict=True)}
        say_target(measured, target, chosen, widened)
    write_json(out / "scales.json", content)
    say(f"Written: {out} (agreement.csv{'' if chosen is None else ', scaling_laws.csv'} and others)")
    if chosen is not None and target is not None:
        tables = (shlex.quote(str(out / f"target_{name}.csv")) for name in ("mixtures", "losses"))
        say("Next: proxymix fit --mixtures {} --losses {} --out fit".format(*tables))
    else:
        say("Next: the same with --target_params and --target_tokens, for what proxies of a larger size would measure")


def _fitted_targets(matched: MatchedScales) -> list[int]:
    """Positions of the targets that laws are fitted to: those above 0 everywhere, as losses are."""
    positive = [t for t, column in enumerate(matched.losses.T) if (column > 0).all()]
    if len(positive) < len(matched.targets):
        left = [loss_domain(name) for t, name in enumerate(matched.targets) if t not in positive]
        say(f"no law is fitted to {some(left)}: not all values are above 0, as losses are")
    return positive


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(scales)
