"""A study -> one page for a colleague: what was asked, the answer, how sure, and every figure with the CSV behind it.

python regression/report.py --study studies/quickstart

Needs mixtures.csv and losses.csv; whatever else the study holds is shown, and what it lacks is said.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixture_config.files.mixture import read_mixture
from proxymix.app.stages import STAGES
from proxymix.errors import InputError
from proxymix.files import read_json, read_yaml, replacing, sha256
from proxymix.messages import listed
from proxymix.plots.figures import Figure, percent, signed
from proxymix.progress import progress
from proxymix.schemas import loss_domain
from regression.confirm import PROPOSAL, WORDS
from regression.reporting import page
from regression.reporting.page import Cell
from regression.reporting.pictures import NAMES, PRESENT
from regression.reporting.report_figures import FIGURES, MOST_CURVES
from regression.reporting.study_results import Evidence
from regression.selection.learning_curve import Point, sentence
from regression.selection.metrics import NOISE, OBJECTIVE

MOST_CANDIDATES = 10  # in a table
MODELS = {
    "gp": "Gaussian process",
    "power": "power law",
    "exponential": "exponential law",
    "log_linear": "log-linear law",
    "linear": "linear",
    "ensemble": "ensemble of the best",
    "lightgbm": "LightGBM as in RegMix",
    "lightgbm_small": "LightGBM for few runs",
    "mean": "predicting the mean",
}


def report(study: Path, out: Path) -> None:
    """Write a study's page, report/index.html, with every figure also as PNG and the CSV behind it.

    The page is one file that needs no network. Stages that have not run are named where they are missed.

    Args:
        study: Folder with mixtures.csv and losses.csv, and whatever else the stages have left there.
        out: Folder to write; an earlier report there is replaced, anything else is refused.

    Raises:
        InputError: If the study has no runs yet, files in it contradict each other, or `out` holds other things.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "index.html").is_file())):
        raise InputError(f"{out}: exists and is no earlier report; choose another folder or remove it")
    found = Evidence(Path(study))
    drawn = [figure for make in FIGURES if (figure := make(found)) is not None]
    with replacing(out) as folder, progress("report", 2 * len(drawn), "figures") as bar:
        folder.mkdir()
        for figure in drawn:
            figure.table.to_csv(folder / f"{figure.name}.csv", index=False, lineterminator="\n")
            (folder / f"{figure.name}.png").write_bytes(figure.png())
            bar.advance()
        (folder / "index.html").write_text(compose(found, {figure.name: figure for figure in drawn}), encoding="utf-8")
        bar.advance(len(drawn))


def compose(found: Evidence, drawn: Mapping[str, Figure]) -> str:
    """The page."""
    title = headline(found)
    parts = [
        _header(found, title, drawn),
        _question(found),
        _answer(found, drawn),
        _confidence(found, drawn),
        _regression(found, drawn),
        _domains(found, drawn),
        _proxies(found, drawn),
        _use(found),
        _made(found),
        "<footer>Made by proxymix, after RegMix (arXiv:2407.01492). The PNG and CSV of every figure lie beside this file.</footer>",
    ]
    return page.page(title, parts)


def headline(found: Evidence) -> str:
    """The verdict in one sentence without numbers."""
    if not found.optimum:
        return f"{len(found.runs.index)} proxy runs, and no proposal yet"
    if not found.confirmation:
        return "A mixture proposed by the regression, not yet confirmed by training"
    infeasible = {name for name, entry in found.confirmation["mixtures"].items() if "over_the_cap" in entry}
    better, same, worse = (found.confirmation[key] for key in ("better_than", "no_better_than", "worse_than"))

    def named(baselines: Sequence[str]) -> str:
        return listed([WORDS[b] + (", which the data cannot feed" if b in infeasible else "") for b in baselines])

    ceilings = found.confirmation.get("ceilings", {})
    broken = [loss_domain(target) for target, entry in ceilings.items() if not entry["kept"]]
    if not same and not worse and not broken:
        return f"The proposed mixture beats every baseline: {listed([WORDS[b] for b in better])}"
    parts = [f"beats {listed([WORDS[b] for b in better])}"] if better else []
    parts += [f"is no better than {named(same)}"] if same else []
    parts += [f"is worse than {named(worse)}"] if worse else []
    parts += [f"breaks the ceilings on {listed(broken)}"] if broken else []
    return f"The proposed mixture {'; it '.join(parts)}"


def _header(found: Evidence, title: str, drawn: Mapping[str, Figure]) -> str:
    from html import escape

    tiles = []
    differences = found.confirmation.get("differences", {})
    shown = [name for name in ("prior",) if name in differences]
    others = [name for name in differences if name not in shown]
    if others:
        shown.append(max(others, key=lambda name: differences[name]["objective"]["mean"]))
    for name in shown:
        d = differences[name]["objective"]
        strongest = " (the strongest baseline)" if name != "prior" else ""
        label = f"measured against {WORDS[name]}{strongest}; 95% interval {signed(d['low'])} to {signed(d['high'])}"
        better = name in found.confirmation["better_than"]
        tiles.append(page.tile(signed(d["mean"]), found.objective.unit, label, "proposed" if better else ""))
    if not differences and (expected := found.proposal[1].get("baselines", {}).get("prior", {}).get("gain")):
        low, high = signed(-expected["high"]), signed(-expected["low"])
        tiles.append(
            page.tile(
                signed(-expected["mean"]),
                found.objective.unit,
                f"predicted against the prior; {_sure(found)} interval {low} to {high}",
            )
        )
    if "predicted" in drawn:
        table = drawn["predicted"].table
        rank, num_runs = table.attrs["spearman"].partition(" ")[0], int((table["kind"] == "out of fold").sum())
        tiles.append(page.tile(rank, "Spearman", f"predicted against measured objective, {num_runs} runs out of fold"))
    if "noise" in drawn:
        ratio = drawn["noise"].table["ratio"].iloc[0]
        tiles.append(
            page.tile(f"×{ratio:.3g}", "", "spread of the objective over mixtures, in units of its seed noise")
        )
    body = f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""
    lede = f"Objective: {found.objective_phrase}; lower is better."
    if found.confirmation:
        seeds = len(found.confirmation["seeds"])
        lede += (
            f" Every mixture was trained on {seeds} fresh seeds; beaten means: at 5%, corrected for all comparisons."
        )
    elif found.optimum:
        lede += " What follows is the regression's word alone; `proxymix confirm` puts it to the test."
    return (
        f'<header>\n<p class="kicker">Data mixture report</p>\n<h1>{escape(title)}</h1>\n'
        f'<p class="lede">{page.prose(lede)}</p>\n{body}\n</header>'
    )


def _question(found: Evidence) -> str:
    num_used = int((found.objective.weights > 0).sum())
    items = [
        (
            "Objective",
            found.objective_phrase,
            f"({found.objective.unit}; {num_used} of {len(found.runs.targets)} measured losses enter)",
        )
    ]
    if ceilings := found.objective.describe_max_increase():
        items.append(("Ceilings", ceilings, "(of the losses, so that none pays for the others)"))
    if found.catalogue:
        tokens = sum(d.tokens for d in found.catalogue)
        first, last = found.domains[0], found.domains[-1]
        items.append(
            (
                "Domains",
                f"{len(found.domains)}, with {_count(tokens)} unique training tokens",
                f"(from {first}, {percent(found.prior[first])} of them, to {last}, {percent(found.prior[last])})",
            )
        )
    else:
        items.append(("Domains", f"{len(found.domains)}", "(token counts not given, so there is no prior)"))
    if found.budget:
        cap = f"at most {found.max_epochs:g} passes over any domain" if found.max_epochs else "no cap on passes"
        items.append(("Final training", f"{_count(found.budget)} tokens", f"({cap})"))
    else:
        items.append(("Final training", "no budget given", "(so no domain's share is capped by its size)"))
    trained = read_yaml(found.run_folders[0] / "manifest.yaml") if found.run_folders else {}
    settings = trained.get("settings", {})
    if settings:
        size = (
            f"{_count(trained['num_parameters'])} parameters without embeddings" if "num_parameters" in trained else ""
        )
        each = f"({size}; {_count(settings['tokens'])} tokens each, sequences of {settings['sequence_length']})"
        items.append(("Proxies", f"{len(found.runs.index)} runs of the {settings['model']} model", each))
    else:
        items.append(("Proxies", f"{len(found.runs.index)} runs", "(trained elsewhere; only their losses are here)"))
    recorded = found.folder / "mixtures" / "n00001.yaml"  # every mixture records how it was drawn
    sampler = read_mixture(recorded)[1] if recorded.exists() else {}
    if all(isinstance(sampler.get(key), int | float) for key in ("temperature", "min_strength", "max_strength")):
        center = (
            "a mixture" if sampler.get("design") == "around" else f"the prior to the power {sampler['temperature']:g}"
        )
        strengths = f"concentration {sampler['min_strength']:g} to {sampler['max_strength']:g}"
        chosen = "far from each other among " if sampler.get("design") == "space_filling" else ""
        how = f"({chosen}Dirichlet draws around {center}, {strengths})"
        picked = len(list((found.folder / "rounds" / "mixtures").glob("*.yaml")))
        later = f", {picked} picked in further rounds by the runs before them" if picked else ""
        items.append(("Mixtures", f"{len(found.runs.index) - picked} drawn{later}", how))
    question = f"Which mixture of {len(found.domains)} domains gives the lowest {found.objective_phrase}?"
    return page.section("question", "What was asked", question, page.definitions(items))


def _answer(found: Evidence, drawn: Mapping[str, Figure]) -> str:
    if not found.optimum:
        return page.section(
            "answer",
            "The answer",
            "",
            page.caution(["No mixture has been proposed yet: `proxymix fit`, then `proxymix propose`."]),
        )
    notes = ["Thick bar: the prior. Thin bar and number: the optimum. Domains are in the order of the prior."]
    if not found.prior:
        notes = ["Bar and number: the optimum. Domains are in the order of their mean weight in the sweep."]
    if "low" in drawn["mixtures"].table:
        notes.append(f"Dark line: where the best weight lies, {_sure(found)} interval over curves that the runs allow.")
    capped = _capped(found)
    if capped:
        notes.append(f"Held at the cap of {found.max_epochs:g} epochs: {listed(capped)}.")
    return page.section(
        "answer",
        "The answer",
        _changes(found),
        page.picture(drawn["mixtures"], "Weights of the mixture", *notes),
        _which_matter(drawn),
        "<h3>The mixture in numbers</h3>",
        _mixture_table(found),
        page.caution([_over_the_cap(found)] if _over_the_cap(found) else []),
        _picture(
            drawn,
            "epochs",
            "Epochs at the budget",
            "Passes of the final training over each domain's tokens. Dotted: what every domain would have at the prior.",
        ),
        _candidates(found),
    )


def _picture(drawn: Mapping[str, Figure], name: str, title: str, *notes: str) -> str:
    return page.picture(drawn[name], title, *notes) if name in drawn else ""


def _which_matter(drawn: Mapping[str, Figure]) -> str:
    if "near_optimal" not in drawn:
        return ""
    table = drawn["near_optimal"].table
    free = table[table["least"] < PRESENT]
    some = listed([str(name) for name in free.sort_values("most", ascending=False)["domain"].head(3)])
    return page.picture(
        drawn["near_optimal"],
        "Which weights matter, and which are free",
        f"Over {table.attrs['num_mixtures']} mixtures that the regression cannot tell from the proposal: from the least to the most "
        "weight that any of them has, and the middle 80% of them. Number: the range in points.",
        f"Grey: {len(free)} of {len(table)} domains that some of these mixtures leave out ({some} among them)."
        if len(free) > 3
        else f"Grey, left out by some of these mixtures: {some}."
        if len(free)
        else "None of these mixtures leaves a domain out.",
    )


def _candidates(found: Evidence) -> str:
    """The mixtures that came closest, with their largest weights."""
    table = found.proposed("candidates")
    if table is None:
        return ""
    rows: list[list[str | Cell]] = []
    for entry in table.head(MOST_CANDIDATES).to_dict("records"):
        weights = {
            str(name).removeprefix("train_"): float(w) for name, w in entry.items() if str(name).startswith("train_")
        }
        top = sorted(weights, key=lambda d: -weights[d])[:4]
        numbers = [
            f"{entry[name]:.4f}" if entry[name] == entry[name] else ""
            for name in ("objective", "std", "judged", "distance")
        ]
        largest = ", ".join(f"{d} {percent(weights[d])}" for d in top)
        rows.append([f"{entry['index']}", Cell(str(entry["method"]), "text"), *numbers, Cell(largest, "wrap text")])
    header = ["candidate", "found by", "objective", "std", "judged", "distance from the prior", "largest weights"]
    return page.details(f"What else was close ({len(rows)} of {len(table)} candidates)", page.table(header, rows))


def _changes(found: Evidence) -> str:
    """The largest moves from the prior, in words."""
    if not found.prior:
        top = [d for d in sorted(found.optimum, key=lambda d: -found.optimum[d])[:3] if found.optimum[d] >= 0.01]
        return f"Most weight goes to {listed([f'{d} ({percent(found.optimum[d])})' for d in top])}."
    change = {d: found.optimum.get(d, 0.0) - found.prior.get(d, 0.0) for d in found.domains}

    def moves(sign: int) -> list[str]:
        order = sorted(change, key=lambda d: -sign * change[d])[:3]
        return [
            f"{d} ({percent(found.prior.get(d, 0.0))} → {percent(found.optimum.get(d, 0.0))})"
            for d in order
            if sign * change[d] >= 0.01
        ]

    more, less = moves(1), moves(-1)
    if not more and not less:
        return "The optimum is within a percent of the prior on every domain."
    parts = [f"more of {listed(more)}"] if more else []
    parts += [f"less of {listed(less)}"] if less else []
    return f"Against the prior, the optimum takes {'; '.join(parts)}."


def _mixture_table(found: Evidence) -> str:
    tokens = {d.domain: d.tokens for d in found.catalogue}
    epochs = _epochs(found)
    header = ["domain"]
    header += ["prior", "optimum", "optimum / prior"] if found.prior else ["optimum"]
    header += ["heuristic"] if found.heuristic else []
    header += [f"epochs at {_count(found.budget)}"] if epochs and found.budget else []
    header += ["tokens"] if found.prior else []
    rows: list[list[str | Cell]] = []
    for d in found.domains:
        weight, share = found.optimum.get(d, 0.0), found.prior.get(d, 0.0)
        row: list[str | Cell] = [d]
        row += [percent(share)] if found.prior else []
        row += [Cell(percent(weight), "proposed")]
        row += [_times(weight, share)] if found.prior else []
        row += [percent(found.heuristic.get(d, 0.0))] if found.heuristic else []
        row += [f"{epochs[d]:.2f}{' (cap)' if d in _capped(found) else ''}"] if epochs else []
        row += [f"{tokens.get(d, 0):,}"] if found.prior else []
        rows.append(row)
    return page.table(header, rows)


def _epochs(found: Evidence) -> dict[str, float]:
    if not found.budget or not found.catalogue:
        return {}
    tokens = {d.domain: d.tokens for d in found.catalogue}
    return {d: found.optimum.get(d, 0.0) * found.budget / tokens[d] if tokens.get(d) else 0.0 for d in found.domains}


def _capped(found: Evidence) -> list[str]:
    cap = found.max_epochs
    return [d for d, epochs in _epochs(found).items() if cap and epochs >= cap * (1 - 1e-3)]


def _over_the_cap(found: Evidence) -> str:
    mixtures = found.confirmation.get("mixtures", {})
    over = [
        f"{WORDS[name]} ({entry['over_the_cap']})"
        for name, entry in mixtures.items()
        if entry.get("over_the_cap") and name in WORDS
    ]
    if not over:
        return ""
    return (
        f"Not every baseline could feed the final training within the cap on epochs: {listed(over)}. "
        "They are compared all the same, at the proxies' own length."
    )


def _confidence(found: Evidence, drawn: Mapping[str, Figure]) -> str:
    name, title = "confidence", "How sure"
    if not found.optimum:
        return ""
    if not found.confirmation:
        stale = "The confirmation in this study is of another proposal and is not shown. " if found.stale else ""
        note = page.caution(
            [
                f"{stale}This mixture has not been confirmed yet. A search finds the regression's luckiest error as readily as a better mixture, so its "
                "prediction is no evidence: `proxymix confirm` trains at the proposal and at every baseline on fresh seeds."
            ]
        )
        verdict = found.proposal[1].get("verdict")
        finding = f"By the regression, the proposal is {verdict}." if verdict else ""
        return page.section(name, title, finding, note, *_expected(found, drawn))
    seeds = len(found.confirmation["seeds"])
    wins = {b: d["objective"]["wins"] for b, d in found.confirmation["differences"].items()}
    won = sum(wins.values())
    first, difference = next(iter(found.confirmation["differences"].items()))
    d = difference["objective"]
    finding = (
        f"Measured afresh, the objective is {signed(d['mean'])} {found.objective.unit} against {WORDS[first]} (95% interval {signed(d['low'])} to "
        f"{signed(d['high'])}), and lower at the proposal on {won} of {seeds * len(wins)} pairs of runs."
    )
    same = [
        f"{WORDS[n].capitalize()} is the same mixture as {WORDS.get(e['same_as'], 'the proposal')}: trained once, and one comparison."
        for n, e in found.confirmation["mixtures"].items()
        if e.get("same_as")
    ]
    best = found.confirmation["mixtures"].get("best_seen", {}).get("origin", "")
    parts = [
        page.picture(
            drawn["differences"],
            "Proposal against every baseline",
            "Circles: one seed each, both mixtures trained on the same seed and scored on the same validation blocks, so what "
            "the seed does to both cancels. Bar: 95% t interval of the mean.",
            "Square: better, at 5% after Holm's correction for the number of baselines. Diamond: not shown to be better.",
        ),
        "<h3>Measured and predicted</h3>",
        _confirmation_table(found),
        page.picture(
            drawn["seeds"],
            "Every seed at every mixture",
            "Diamond: what the regression predicted before these runs. It was fitted to the sweep's seed; a shift that all "
            "mixtures share is that seed's, and does not touch the differences.",
            f"Best of sweep is {best}." if best else "",
        ),
        page.caution(same),
        _ceilings_table(found),
    ]
    if "domain_changes" in drawn:
        changes = drawn["domain_changes"].table
        lower, higher = int((changes["high"] < 0).sum()), int((changes["low"] > 0).sum())
        parts.append(
            page.picture(
                drawn["domain_changes"],
                "What the proposal gains and pays, per domain",
                f"Measured, proposal minus prior on the same seeds: {lower} of {len(changes)} validation losses fall and {higher} "
                "rise, by 95% intervals that are not corrected for their number.",
            )
        )
    if "gains" in drawn or "line" in drawn:
        parts += _expected(found, drawn)
    return page.section(name, title, finding, *parts)


def _expected(found: Evidence, drawn: Mapping[str, Figure]) -> list[str]:
    """What the regression says of the proposal before anything was trained at it."""
    predicted = _predicted_table(found)
    own = found.proposal[1].get("predicted", {})
    curse = "No halves of the runs judged each other's proposals, so nothing is taken off for having searched for the lowest."
    if "halves" in own:
        curse = (
            f"Proposals from half of the runs look {signed(own['halves']['winners_curse'])} {found.objective.unit} better to their "
            f"own regression than to that of the other half; {own['mean'] - own['own']:.4f} is taken off the gains for it."
        )
    return [
        "<h3>What the regression predicts</h3>" if predicted else "",
        predicted,
        _picture(
            drawn,
            "gains",
            "Gain over every baseline, as predicted and as judged",
            "Hollow: by the regression of all runs, the winner's curse taken off, with its "
            f"{_sure(found)} interval. Filled: proposals from half of the runs, by regressions of the other half.",
            curse,
        ),
        _picture(
            drawn,
            "line",
            "From the prior to the optimum",
            f"The predicted objective at mixtures between the two, with its {_sure(found)} interval. Where the line is flat, less of a change does as well.",
        ),
    ]


def _confirmation_table(found: Evidence) -> str:
    header = (
        "mixture",
        "measured",
        "proposal − it",
        "95% interval",
        "p (Holm)",
        "seeds won",
        "predicted",
        "predicted difference",
    )
    rows: list[list[str | Cell]] = []
    seeds = len(found.confirmation["seeds"])
    for name, entry in found.confirmation["mixtures"].items():
        named = Cell(NAMES[name], dot=name if name in (PROPOSAL, "prior") else "other")
        measured = f"{entry['measured']['mean']:.3f} ± {entry['measured']['sd']:.3f}"
        predicted = f"{entry['predicted']['mean']:.3f} ± {entry['predicted']['std']:.3f}"
        if name == PROPOSAL:
            rows.append([named, measured, "", "", "", "", predicted, ""])
            continue
        difference = found.confirmation["differences"][name]
        objective, expected = difference["objective"], difference["predicted"]
        rows.append(
            [
                named,
                measured,
                Cell(signed(objective["mean"]), "proposed" if name in found.confirmation["better_than"] else ""),
                f"{signed(objective['low'])} to {signed(objective['high'])}",
                "< 0.001" if objective["p_holm"] < 0.001 else f"{objective['p_holm']:.3f}",
                f"{objective['wins']} of {seeds}",
                predicted,
                f"{signed(expected['mean'])} ± {expected['std']:.3f}",
            ]
        )
    text = (
        f"Objective in {found.objective.unit}; ± is one standard deviation: over seeds where measured, of a single run where predicted, of the "
        "expected difference in the last column."
    )
    return page.table(header, rows, chosen=0) + page.remark(text) + _of_means(found)


def _ceilings_table(found: Evidence) -> str:
    """Whether the targets with a ceiling stayed below it, measured."""
    ceilings = found.confirmation.get("ceilings", {})
    if not ceilings:
        return ""
    seeds = len(found.confirmation["seeds"])
    rows: list[list[str | Cell]] = [
        [
            loss_domain(target),
            f"{entry['proposal']:.3f}",
            f"{entry['prior']:.3f}",
            f"{signed(100 * entry['rise'], 2)}%",
            f"{100 * entry['allowed']:.4g}%",
            f"{signed(entry['excess']['mean'])} ({signed(entry['excess']['low'])} to {signed(entry['excess']['high'])})",
            Cell("kept" if entry["kept"] else "broken", "text"),
            f"{entry['seeds_kept']} of {seeds}",
        ]
        for target, entry in ceilings.items()
    ]
    header = ["loss on", "proposal", "prior", "change", "allowed", "above what is allowed", "", "seeds kept"]
    text = (
        f"Losses in {found.loss_unit}, mean over seeds. Above what is allowed: proposal minus (1 + allowed) x prior on the same seed, "
        "with its 95% interval; below 0 the ceiling is kept."
    )
    return "<h3>Ceilings</h3>" + page.table(header, rows) + page.remark(text)


def _of_means(found: Evidence) -> str:
    """The plain mean over all validation domains, where it is not what was asked for."""
    if found.confirmed is None or np.allclose(found.confirmed["objective"], found.confirmed["mean"]):
        return ""
    num = sum(loss_domain(column) != column for column in found.confirmed.columns)
    parts = [
        f"{WORDS[name]} {signed(d['mean']['mean'])} ({signed(d['mean']['low'])} to {signed(d['mean']['high'])})"
        for name, d in found.confirmation["differences"].items()
    ]
    return page.remark(
        f"On the plain mean over all {num} validation domains, which was not the objective, the proposal differs from {listed(parts)}."
    )


def _predicted_table(found: Evidence) -> str:
    """The regression's own word on the proposal and the baselines, as `propose` wrote it."""
    settings = found.proposal[1]
    if "predicted" not in settings or "baselines" not in settings:
        return ""
    rows: list[list[str | Cell]] = [[Cell("proposal", dot=PROPOSAL), _span(settings["predicted"]), "", ""]]
    for name, entry in settings["baselines"].items():
        gain = {key: -value for key, value in entry["gain"].items()}
        feasible = "" if entry["feasible"] else "outside the limits"
        difference = f"{signed(gain['mean'])} ({signed(gain['high'])} to {signed(gain['low'])})"
        named = Cell(NAMES.get(name, name), dot="prior" if name == "prior" else "other")
        rows.append([named, _span(entry["predicted"]), difference, Cell(feasible, "text")])
    text = f"Predicted objective in {found.objective.unit} with {_sure(found)} intervals: of a single run, and of the expected difference."
    return page.table(["mixture", "predicted", "proposal − it", ""], rows, chosen=0) + page.remark(text)


def _sure(found: Evidence) -> str:
    """The confidence of the proposal's intervals: '90%'."""
    return f"{100 * found.proposal[1].get('confidence', 0.95):.3g}%"


def _span(entry: Mapping[str, float]) -> str:
    return f"{entry['mean']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"


def _regression(found: Evidence, drawn: Mapping[str, Figure]) -> str:
    name, title = "regression", "Does the regression hold"
    if found.scores is None or "predicted" not in drawn:
        return page.section(
            name,
            title,
            "",
            page.caution(["No regression has been fitted yet: `proxymix fit`. What follows is the sweep as measured."]),
        )
    rank = drawn["predicted"].table.attrs["spearman"]
    table = drawn["predicted"].table[drawn["predicted"].table["kind"] == "out of fold"]
    error = float(np.sqrt(((table["predicted"] - table["measured"]) ** 2).mean()))
    spread = float(table["measured"].std(ddof=1))
    finding = (
        f"On runs it had not seen, its predictions rank with Spearman {rank} and are off by {error:.3f} (root mean square), "
        f"where the runs differ by {spread:.3f}."
    )
    return page.section(
        name,
        title,
        finding,
        page.picture(
            drawn["predicted"],
            "Predicted against measured",
            "Each run is predicted by a fit to the folds without it. On the dashed line the prediction is right.",
            "Blue square and grey triangle: the proposal and the prior, measured afresh (mean over seeds)."
            if found.confirmation
            else "",
        ),
        "<h3>Models compared by cross-validation</h3>",
        _scores_table(found),
        *_learning(found, drawn),
    )


def _learning(found: Evidence, drawn: Mapping[str, Figure]) -> list[str]:
    """What more runs would bring."""
    if found.learning_curve is None or "learning_rank" not in drawn:
        return []
    columns = ["num_runs", "repeat", "spearman", "regret"]
    points = [Point(*row) for row in found.learning_curve[columns].itertuples(index=False)]
    return [
        page.picture(
            drawn["learning_rank"],
            "Would more runs help",
            sentence(points, len(found.runs.index), found.objective.unit),
            "Each dot is a fit to that many runs, drawn at random, and its Spearman on the others. Dotted: the part missing from 1 "
            "goes on falling as a power of the number of runs.",
        ),
        page.picture(
            drawn["learning_regret"],
            "What its pick loses",
            "How much worse than the best of the others is the run that each fit would have picked.",
        ),
    ]


def _scores_table(found: Evidence) -> str:
    """How every model ranked held-out runs on the objective, and the chosen one on every target."""
    scores = found.scores
    assert scores is not None
    chosen = found.fit.model if found.fit else ""

    def row(entry: Mapping[Any, Any], name: str) -> list[str | Cell]:
        spread = f" ± {entry['spearman_sd']:.3f}" if entry["spearman_sd"] > 0 else ""
        numbers = (
            f"{entry['spearman']:.3f}{spread}",
            f"{entry['rmse']:.4f}",
            f"{entry['r2']:.3f}",
            f"{entry['regret']:.4f}",
        )
        return [name, *(number.replace("-", "−") for number in numbers)]

    header = ["model", "Spearman", f"error ({found.objective.unit})", "R²", f"regret ({found.objective.unit})"]
    of_objective = scores[scores["target"] == OBJECTIVE]
    floor = of_objective[of_objective["model"] == NOISE]["rmse"].tolist()
    ranked = of_objective[of_objective["model"] != NOISE].sort_values("spearman", ascending=False, kind="stable")
    models = ranked.to_dict("records")
    names = [MODELS.get(entry["model"], str(entry["model"])) for entry in models]
    stressed = next((i for i, entry in enumerate(models) if entry["model"] == chosen), None)
    labels = [f"{name}, chosen" if i == stressed else name for i, name in enumerate(names)]
    compared = page.table(header, [row(e, label) for e, label in zip(models, labels, strict=True)], stressed)
    rows = scores[(scores["model"] == chosen) & (scores["target"] != OBJECTIVE)].set_index("target")
    order = [t for t in found.targets if t in rows.index]
    of_losses = [text.replace(found.objective.unit, found.loss_unit) for text in header[1:]]
    of_seeds = scores[scores["model"] == NOISE].set_index("target")["rmse"]
    noise = [f"noise over seeds ({found.loss_unit})"] if floor else []
    per_target = page.table(
        ["loss on", *of_losses, *noise],
        [[*row(rows.loc[t].to_dict(), loss_domain(t)), *(f"{of_seeds[t]:.4f}" for _ in noise)] for t in order],
    )
    return (
        compared
        + page.remark(
            "On the objective, for runs held out of the fit (± over repeated splits). Error: root mean square. Regret: how much "
            "worse than the best held-out run is the one that the model would have picked."
            + (
                f" Runs of one mixture on several seeds are apart by {floor[0]:.4f} (standard deviation), which no regression can foresee."
                if floor
                else ""
            )
        )
        + (page.details(f"The chosen model on each of {len(order)} losses", per_target) if order else "")
    )


def _domains(found: Evidence, drawn: Mapping[str, Figure]) -> str:
    parts = []
    finding = ""
    if "sensitivity" in drawn:
        table = drawn["sensitivity"].table
        small = 0.05 * float(np.abs(table[["more", "less"]].to_numpy()).max())
        worst = table[table["less"] > small].sort_values("less", ascending=False)["domain"].tolist()[:3]
        if worst:
            finding = f"By the regression, the objective leans most on {listed(worst)}: less of it costs most."
        gains = table[table["more"] < -small].sort_values("more")["domain"].tolist()[:3]
        parts.append(
            page.picture(
                drawn["sensitivity"],
                "Around the optimum",
                "One domain's share moves, the others shrink or grow in proportion. Right of 0 is worse: at an optimum that no cap "
                "holds, every move costs.",
                f"More of {listed(gains)} would still help by the regression, but a cap or the search's caution stops it."
                if gains
                else "",
            )
        )
    parts.append(
        _picture(
            drawn,
            "effects",
            "As the regression has learnt it",
            "Predicted change of a loss when a domain goes from nothing to its mean share in the sweep, the others shrinking in "
            "proportion. Shades grow with the square root, so that one strong effect does not hide the others.",
        )
    )
    parts.append(
        page.picture(
            drawn["correlation"],
            "Over the whole sweep",
            f"Spearman correlation between a domain's weight and a loss over {len(found.runs.index)} runs. Blue, negative: more of the "
            "domain goes with a lower loss. Orange, positive: with a higher one.",
            "Weights sum to 1, so a large domain correlates with what it displaces; read it as an association over this sweep.",
        )
    )
    return page.section("domains", "Which domains matter", finding, *parts)


def _proxies(found: Evidence, drawn: Mapping[str, Figure]) -> str:
    parts = []
    if "noise" in drawn:
        parts.append(
            page.picture(
                drawn["noise"],
                "Signal and noise",
                "Filled: how much the loss differs between the mixtures of the sweep. Hollow: how much it differs between seeds at one "
                "mixture (pooled over those confirmed). The number is their ratio; below 3 a loss says little about mixtures.",
            )
        )
    if "curves" in drawn:
        num_runs = len(found.run_folders)
        some = f" {MOST_CURVES} of {num_runs} runs are drawn." if num_runs > MOST_CURVES else ""
        halfway = drawn["curves"].table.attrs["halfway"]
        stable = (
            f"Halfway through, the runs rank as at the end with Spearman {halfway:.2f}: the closer to 1, the less longer proxies "
            "would change the answer."
        )
        notes = [f"The objective at every evaluation of a run.{some}", stable if halfway == halfway else ""]
        parts.append(page.picture(drawn["curves"], "Loss curves", *notes))
    if not parts:
        return ""
    finding = ""
    if "noise" in drawn:
        table = drawn["noise"].table
        lowest = int(table["ratio"].iloc[1:].argmin()) + 1
        finding = (
            f"The mixture moves the objective {table['ratio'].iloc[0]:.3g} times as much as the seed does; per domain, at least "
            f"{table['ratio'].iloc[lowest]:.3g} times ({table['target'].iloc[lowest]})."
        )
    return page.section("proxies", "The proxies", finding, *parts)


def _use(found: Evidence) -> str:
    if not found.optimum:
        return ""
    weights = "\n".join(f"  train_{d}: {weight!r}" for d, weight in found.optimum.items())
    blend = " ".join(f"{weight:.6g} {d}" for d, weight in found.optimum.items() if weight > 0)
    commands = []
    if any(stage.name == "export" for stage in STAGES):
        commands = [
            page.paragraph("For a trainer's own format:"),
            page.code("proxymix export --mixture optimal_mixture.yaml --to megatron --out FILE"),
        ]
    return page.section(
        "use",
        "Use it",
        "",
        page.paragraph("The file `optimal_mixture.yaml` holds the weights at full precision, in RegMix's keys:"),
        page.code(f"train:\n{weights}"),
        page.paragraph(
            "As one line, weight and domain in turn, for trainers that take a blend (put your paths for the names):"
        ),
        page.code(blend, wrap=True),
        *commands,
    )


def _made(found: Evidence) -> str:
    parts = []
    versions: dict[str, str] = {}
    for record in found.records:
        versions |= record.get("versions", {})
    if versions:
        parts.append(page.definitions([("Versions", ", ".join(f"{name} {v}" for name, v in versions.items()), "")]))
    tokens = found.folder / "tokens" / "manifest.json"
    if tokens.exists():
        tokenizer = read_json(tokens)["tokenizer"]
        parts.append(
            page.definitions(
                [
                    (
                        "Tokenizer",
                        f"{tokenizer['name']}, {tokenizer['vocabulary']:,} ids",
                        f"sha256 {tokenizer['sha256'][:16]}",
                    )
                ]
            )
        )
    hashes = [(name, digest) for name, digest in _hashes(found).items() if digest]
    if hashes:
        parts.append(
            page.details(
                "Hashes of the files this page was made from (SHA-256)",
                page.table(["file", "sha256"], [[name, Cell(digest, "text")] for name, digest in hashes]),
            )
        )
    if found.settings:
        parts.append(
            page.details(
                "Settings of the study (study.yaml)",
                page.code(yaml.safe_dump(_without_paths(found.settings), sort_keys=False, width=100)),
            )
        )
    if not parts:
        return ""
    return page.section("made", "How it was made", "", *parts)


def _without_paths(value: Any) -> Any:
    """Settings without where they lay on this machine, which is nobody's business and would change the page's bytes."""
    if isinstance(value, Mapping):
        return {key: _without_paths(inner) for key, inner in value.items()}
    return f".../{Path(value).name}" if isinstance(value, str) and Path(value).is_absolute() else value


def _hashes(found: Evidence) -> dict[str, str]:
    names = (
        "study.yaml",
        "tokens/manifest.json",
        "domains.csv",
        "heuristic_mixture.yaml",
        "mixtures.csv",
        "losses.csv",
        "regression/fit.json",
        "optimal_mixture.yaml",
        "confirmation.csv",
    )
    return {name: sha256(found.folder / name) for name in names if (found.folder / name).exists()}


def _count(number: float) -> str:
    """1234567 -> '1.23 million'."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,.0f}"


def _times(weight: float, prior: float) -> str:
    if prior == 0:
        return "new" if weight > 0 else "–"
    return f"× {weight / prior:.2f}" if weight else "dropped"


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(report)
