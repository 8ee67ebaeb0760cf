"""Runs over old domains -> the same runs over new domains, so that they still count; and what need not be learnt again.

python regression/reuse.py --study OLD --domains new/domains.csv --config changes.yaml --out reused

Frozen domains are the mixture reuse of Chen et al. 2026, arXiv:2602.12237.
"""

from pathlib import Path

import numpy as np

from mixture_config.files.mixture import Mixture
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.progress import say
from proxymix.schemas import Domains, plain_name, plain_names
from regression.data.runs_table import read_runs
from regression.reuse_rules.carried_runs import carry_over, join_runs, say_runs, write_runs
from regression.reuse_rules.changes import Changes
from regression.reuse_rules.data_check import check_data
from regression.reuse_rules.frozen_domains import freeze_domains, say_frozen
from regression.reuse_rules.weight_rules import make_rules


def reuse(
    domains: Path,
    out: Path,
    mixtures: Path | None = None,
    losses: Path | None = None,
    split: dict[str, list[str]] | None = None,
    merge: dict[str, list[str]] | None = None,
    add: list[str] | None = None,
    drop: list[str] | None = None,
    tolerance: float = 0.02,
    old_domains: Path | None = None,
    new_mixtures: Path | None = None,
    new_losses: Path | None = None,
    freeze: Path | None = None,
    tokens: Path | None = None,
    old_tokens: Path | None = None,
) -> None:
    """Make old runs count after domains were added, split, merged or dropped.

    Every old domain that is not in the new table, and every new one that is not in the old, must be accounted for, best
    in a YAML given as --config: {split: {code: [python, c]}, merge: {web: [blogs, news]}, add: [math], drop: [spam]}.

    An added domain has weight 0 in old runs. A split one shares its weight by the tokens of its parts, because training
    drew them in that ratio. Merged ones sum up, which is exact only where the parts stood in the ratio of their old
    tokens. A run that used a dropped domain is a run on other data. Runs further off than the tolerance are left out;
    OUT/reuse.csv lists all runs with how far off they are. `proxymix fit` reads OUT/mixtures.csv and OUT/losses.csv.

    With --freeze, OUT/reduced/domains.csv has all domains that did not change as one, at the relative weights of a
    mixture. Draw proxies for that table (`proxymix synthesize`), and lead their mixtures back to all domains (`proxymix
    expand`).

    Args:
        domains: The new table of domains, with their tokens.
        out: Folder to write.
        mixtures: Mixtures of the old runs.
        losses: Losses of the old runs.
        split: Old domain -> the new domains that it was split into.
        merge: New domain -> the old domains that were merged into it.
        add: New domains whose data no old run has seen.
        drop: Old domains whose data is gone. A domain with revised data is dropped and added.
        tolerance: How far what a run was trained on may be from what its new row says (total variation: the share of tokens
            that differ). 0 keeps exact rows only, 1 keeps every run.
        old_domains: The old table of domains, for the token ratio of merged ones.
        new_mixtures: Mixtures of runs over the new domains, to be put below the old ones.
        new_losses: Losses of those.
        freeze: A mixture over the old domains (such as the old optimal_mixture.yaml), whose unchanged domains stay as they are.
        tokens: Token shards of the new domains, to check that unchanged domains hold the same data.
        old_tokens: Token shards of the old domains.

    Raises:
        InputError: If a domain is unaccounted for, data or tokenizer of what is unchanged differ, or no run counts.
    """
    if not 0 <= tolerance <= 1:
        raise InputError(f"tolerance is {tolerance}; a share of tokens from 0 to 1 is wanted")
    for name, pair in (("mixtures", (mixtures, losses)), ("new_mixtures", (new_mixtures, new_losses))):
        if (pair[0] is None) != (pair[1] is None):
            raise InputError(f"{name} and {name.replace('mixtures', 'losses')} go together; give both or neither")
    if mixtures is None and freeze is None:
        raise InputError("nothing to reuse: give mixtures and losses of old runs, or a mixture to freeze, or both")
    # ---- 1. What there was, and what became of it
    table = Domains.read(domains)
    runs = read_runs(mixtures, losses) if mixtures is not None and losses is not None else None
    mixture = Mixture.read(freeze) if freeze is not None else None
    old = runs.domains if runs is not None else list(mixture.weights if mixture is not None else ())
    weights = mixture.aligned(old, str(freeze)) if mixture is not None else None
    added, dropped = (tuple(map(plain_name, names or ())) for names in (add, drop))
    changes = Changes(plain_names(split or {}), plain_names(merge or {}), added, dropped)
    changes.check(old, table.names, str(domains))
    unchanged = changes.unchanged(old)
    old_table = Domains.read(old_domains) if old_domains is not None else None
    rules = make_rules(old, table, changes, old_table, domains, old_domains)

    # ---- 2. Everything that may fail, before the first file is written
    checked = check_data(old_tokens, tokens, unchanged)
    carried = carry_over(runs, rules, tolerance, str(mixtures)) if runs is not None else None
    fresh = read_runs(new_mixtures, new_losses) if new_mixtures is not None and new_losses is not None else None
    joined = join_runs(carried, fresh, rules.changed, str(new_mixtures)) if carried is not None else None
    frozen = freeze_domains(table, mixture.weights, unchanged, str(freeze)) if mixture is not None else None

    # ---- 3. Files
    say(checked)
    if carried is not None and joined is not None:
        write_runs(out, carried, joined, fresh.index if fresh is not None else [])
        say_runs(carried, tolerance, out)
    if frozen is not None and weights is not None and freeze is not None:
        members, reduced = frozen
        folder = out / "reduced"
        moved, _ = rules.apply(weights[None])
        if moved.sum() > 0:
            weights_today = dict(zip(rules.new, moved[0].tolist(), strict=True))
            Mixture(weights_today, {"model_name": "carried"}).write(folder / "carried_mixture.yaml")
        members.write(folder / "frozen.yaml", sha256(freeze))
        reduced.write(folder / "domains.csv")
        total = int(table.true_tokens[np.isin(table.names, list(members.members))].sum())
        say_frozen(reduced, members, total, folder)


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(reuse)
