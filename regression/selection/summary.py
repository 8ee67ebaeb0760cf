"""A fit -> what the terminal says of it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxymix.messages import aligned, next_command, some, study_of
from proxymix.progress import say
from proxymix.schemas import loss_domain
from proxymix.tables import read_table
from regression.data.runs import Runs
from regression.models.registry import BASELINE, ENSEMBLE, make_regressor
from regression.selection.fit_table import FitResult
from regression.selection.learning_curve import num_more, sentence
from regression.selection.metrics import NOISE, OBJECTIVE
from regression.selection.model_choice import TIE
from regression.selection.repeats import same_mixtures

MIN_TRUSTED_SPEARMAN = 0.6
"""Below this rank correlation the proxies are probably under-trained; do not trust the optimum."""
NAMES = {BASELINE: "predict the mean", NOISE: "noise over seeds"}


def say_fit(found: FitResult) -> None:
    """Say how well every model ranks held-out runs, what noise is in them, and whether more runs would help."""
    fitted = found.fitted
    rows = {row["model"]: row for row in found.tables["scores"] if row["target"] == OBJECTIVE}
    for line in (*_scores(found, rows), *_noise(found.noise, fitted.runs), *_test(found)):
        say(line)
    say(sentence(found.curve, len(fitted.runs.index), fitted.objective.unit))
    if not fitted.ranks:
        say("No regression ranks these runs better than chance would: there is nothing yet to choose a mixture by.")
    elif rows[fitted.model]["spearman"] < MIN_TRUSTED_SPEARMAN:
        say("No model ranks held-out runs well: train more proxies, or longer ones, before trusting an optimum.")


def say_next(found: FitResult, out: Path) -> None:
    """Say where the fit is, and which command comes next."""
    folder, num_runs = shlex.quote(str(out)), len(found.fitted.runs.index)
    say(f"Written: {out} (scores.csv, predictions.csv and others)")
    if more := num_more(found.curve, num_runs):
        study = study_of(out)
        if study is None:
            train = f"proxymix propose --fit {folder} --num_next {more} --out next.yaml   (then train what next/ holds)"
        else:
            sweep = study / "mixtures.csv"
            num = more + (len(read_table(sweep)) if sweep.exists() else num_runs)
            train = f"proxymix run --study {shlex.quote(str(study))} --synthesize.num_mixtures {num}"
        say(f"To train {more} more: {train}")
    files = f"--fit {folder} --domains domains.csv --budget TOKENS --out optimal_mixture.yaml"
    say(f"Next: {next_command(out, 'propose', files)}")


def _scores(found: FitResult, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The models that were scored on all held-out runs, the best first, and why the chosen one is taken."""
    fitted = found.fitted
    chosen, num_targets = rows[fitted.model], len(fitted.targets)
    yield f"Chosen: {fitted.model}, Spearman {chosen['spearman']:.3f} on held-out runs ({fitted.objective.describe()})."
    table = [("model", "Spearman", "error", "regret", "best tenth found", "")]
    for name, row in sorted(rows.items(), key=lambda item: (item[0] == NOISE, -(item[1]["spearman"] or 0))):
        error = f"{row['rmse']:.4f}" if abs(row["rmse"]) < 1e4 else f"{row['rmse']:.3g}"
        if name == NOISE:
            table.append((NAMES[NOISE], "", error, "", "", ""))
            continue
        remark = "<- chosen" if name == fitted.model else ""
        if name != BASELINE and row["rmse"] > rows[BASELINE]["rmse"]:
            remark = f"{remark}  some predictions are far off: a larger error than that of predicting the mean".strip()
        spread = f"{row['spearman']:.3f} +- {row['spearman_sd']:.3f}"
        regret = f"{row['regret']:.4f}" if abs(row["regret"]) < 1e4 else f"{row['regret']:.3g}"
        table.append((NAMES.get(name, name), spread, error, regret, f"{row['recall']:.0%}", remark))
    yield aligned(table)
    if better := [name for name, row in rows.items() if name != NOISE and row["spearman"] > chosen["spearman"]]:
        yield f"{some(better)} rank{'s' if len(better) == 1 else ''} a little better; {_why_not(better, rows, chosen)}"
    out: dict[str, int] = {}
    for row in found.tables["scores"]:
        if row["model"] not in (*rows, NOISE):
            out[row["model"]] = out.get(row["model"], 0) + 1
    if out:
        num = f"{max(out.values())} of {num_targets} targets"
        yield f"Dropped after {num}, where they were far behind (scores.csv has what they scored there): {some(out, 20)}"


def _why_not(better: Sequence[str], rows: Mapping[str, Mapping[str, Any]], chosen: Mapping[str, Any]) -> str:
    if all(rows[name]["spearman"] <= chosen["spearman"] + TIE for name in better):
        return "of models that rank alike, the one whose pick is closest to the best run is taken"
    if all(name != ENSEMBLE and make_regressor(name).parametric for name in better):
        return "laws are not taken alone, because a law does not know where its shape is wrong"
    return "a model that says how unsure it is, and ranks nearly as well, is taken before them"


def _noise(noise: Mapping[str, float], runs: Runs) -> Iterator[str]:
    """The noise floor per target; the target whose spread it is the largest part of comes first."""
    if noise:
        same = same_mixtures(runs.weights)
        parts = {t: noise[t] / column.std(ddof=1) for t, column in zip(runs.targets, runs.losses.T, strict=True)}
        noisy = [
            f"{loss_domain(t)} {noise[t]:.4g} ({part:.0%})" for t, part in sorted(parts.items(), key=lambda x: -x[1])
        ]
        num_repeats = len(same) - 1 - int(same.max())
        yield f"Noise over seeds from {num_repeats} repeats, and its part of the spread of the runs: {some(noisy)}"


def _test(found: FitResult) -> Iterator[str]:
    fitted = found.fitted
    seen = " (seen: the preset stopped training on them, so this flatters it)" if fitted.preset == "regmix" else ""
    for row in found.tables["test_scores"]:
        if row["target"] == OBJECTIVE and row["model"] == fitted.model:
            yield (
                f"On the test runs{seen}: Spearman {row['spearman']:.4f}, error {row['rmse']:.4f}, regret {row['regret']:.4f}, "
                f"{row['recall']:.0%} of the best tenth found"
            )
