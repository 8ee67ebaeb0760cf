"""What `proxymix scales` says on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import loss_domain
from regression.scaling.agreement import LOW_SPEARMAN
from regression.scaling.matching import MatchedScales
from regression.scaling.scale import Scale

MAX_SIZE_RATIO = 10.0
"""A target that is more times larger than the largest scale is warned of."""


def say_agreement(rows: Sequence[Mapping[str, Any]]) -> None:
    first = rows[0]["target"]
    for row in rows:
        if row["target"] == first:
            tenth = round(row["top_tenth"] * max(1, row["num_mixtures"] // 10))
            say(
                f"{row['smaller']} -> {row['larger']}, {loss_domain(first)}, {row['num_mixtures']} mixtures: Spearman "
                f"{row['spearman']:.3f} ({row['spearman_low']:.3f} to {row['spearman_high']:.3f}); "
                f"{tenth} of the best {max(1, row['num_mixtures'] // 10)} at {row['larger']} are among the best at {row['smaller']}; "
                f"the pick of {row['smaller']} costs {row['regret']:.4f} ({row['regret_low']:.4f} to {row['regret_high']:.4f})"
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
                f"{loud}rank agreement {word} (Spearman under {LOW_SPEARMAN:g}{'' if verdict == 'low' else ' is within its interval'}): "
                f"{some(shown, 4)}. "
                + (
                    "A mixture that is best for the smaller proxies need not be for larger models: train more tokens or "
                    "larger proxies before trusting an optimum"
                    if verdict == "low"
                    else "More common mixtures would tell"
                )
            )


def say_laws(matched: MatchedScales, rows: Sequence[Mapping[str, Any]], chosen: str) -> None:
    last = matched.scales[-1]
    say(f"laws, on {last.name} held out (mean over targets):   error    Spearman   regret")
    for name in dict.fromkeys(row["law"] for row in rows):
        own = [row for row in rows if row["law"] == name]
        values = [float(np.mean([row[key] for row in own])) for key in ("rmse", "spearman", "regret")]
        words = {"shifted": "the smaller scale, at the right mean", "same_drop": "the smaller scale, same drop again"}
        mark = "  <- used" if name == chosen else ""
        say(f"  {words.get(name, name):<40}{values[0]:>16.4f}{values[1]:>12.3f}{values[2]:>9.4f}{mark}")
    if len(matched.scales) > 2:
        say(f"  ({chosen} was chosen by its error there, which makes it look a little better than it is)")
    else:
        say(
            "Two scales: the error of a level cannot be tried, since one scale alone says nothing about size. A third scale "
            "would tell how far the laws hold"
        )


def say_target(measured: Sequence[Scale], target: tuple[float, float], chosen: str, widened: float | None) -> None:
    largest = measured[-1]
    times = target[0] / largest.params, target[1] / largest.tokens
    below = measured[-2]
    say(
        f"The target ({target[0]:,.0f} parameters, {target[1]:,.0f} tokens) has {times[0]:.3g} times the parameters and "
        f"{times[1]:.3g} times the tokens of {largest.name}, the largest scale, which itself has "
        f"{largest.params / below.params:.3g} and {largest.tokens / below.tokens:.3g} times those of {below.name}"
    )
    if max(times) > MAX_SIZE_RATIO:
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
    say(f"The losses of the target are predicted by the {chosen} law")
