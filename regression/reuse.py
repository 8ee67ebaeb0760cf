"""Runs over old domains -> the same runs over new domains, so that they still count; and what need not be learnt again.

python regression/reuse.py --study OLD --domains new/domains.csv --config changes.yaml --out reused

Two ways to keep what was paid for when domains are added, split, merged or dropped. Old runs are written anew over the
new domains, by rules that are exact or say how far off they are. And the domains that did not change can be frozen: they
keep the relative weights of a mixture as one virtual domain, so that new proxies only explore what changed (the mixture
reuse of Chen et al. 2026, arXiv:2602.12237); `proxymix expand` leads back. Both hold only as long as the data of what
did not change and the tokenizer are the same, which is checked by their hashes.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mixture_config.files.mixture import read_mixture, write_mixture
from mixture_config.files.mixture_table import ROUNDING, Key
from proxymix.errors import InputError
from proxymix.files import sha256, write_yaml
from proxymix.messages import nearest, some
from proxymix.progress import say
from proxymix.schemas import Domain, Shard, loss_domain, read_domains, read_tokens_manifest, write_domains
from proxymix.tables import write_table
from regression.data.runs import Runs, align_domains
from regression.data.runs_table import read_runs

FROZEN = "frozen"
"""The name of the virtual domain."""


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

    An added domain has weight 0 in old runs. A split one shares its weight by the tokens of its parts, since that is how
    training drew them. Merged ones sum up, which is exact only where the parts stood in the ratio of their old tokens.
    A run that used a dropped domain is a run on other data. Runs further off than the tolerance are left out; OUT/reuse.csv
    lists all of them with how far off they are. OUT/mixtures.csv and OUT/losses.csv are what `proxymix fit` reads.

    With --freeze, OUT/reduced/domains.csv has all domains that did not change as one, at the relative weights of a
    mixture: draw proxies for it (`proxymix synthesize`), and lead what comes of it back to all domains (`proxymix expand`).

    Args:
        domains: The new table of domains, with their tokens.
        out: Folder to write.
        mixtures: Mixtures of the old runs.
        losses: Losses of the old runs.
        split: Old domain -> the new domains that it was split into.
        merge: New domain -> the old domains that were merged into it.
        add: New domains whose data no old run has seen.
        drop: Old domains whose data is gone. A domain with revised data is dropped and added.
        tolerance: How far (total variation, so the share of tokens that differ) what a run was trained on may be from what its
            new row says. 0 keeps exact rows only, 1 keeps every run.
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
    catalogue = read_domains(domains)
    runs = read_runs(mixtures, losses) if mixtures is not None and losses is not None else None
    frozen = read_mixture(freeze)[0] if freeze is not None else None
    old = runs.domains if runs is not None else list(frozen or {})
    if runs is not None and frozen is not None:
        align_domains(np.array([list(frozen.values())]), list(frozen), old, str(freeze))
    changes = Changes(split or {}, merge or {}, tuple(add or ()), tuple(drop or ()))
    changes.check(old, [d.domain for d in catalogue], str(domains))
    unchanged = changes.unchanged(old)
    rules = make_rules(old, catalogue, changes, domains, old_domains)
    checked = check_data(old_tokens, tokens, unchanged)
    reused = carry_over(runs, rules, tolerance, str(mixtures)) if runs is not None else None
    fresh = read_runs(new_mixtures, new_losses) if new_mixtures is not None and new_losses is not None else None
    joined = join_runs(reused, fresh, rules.changed, str(new_mixtures)) if reused is not None else None
    reduced = reduce_domains(catalogue, frozen, unchanged, str(freeze)) if frozen is not None else None

    say(checked)
    if reused is not None and joined is not None:
        _write_runs(out, reused, joined, fresh.index if fresh is not None else [])
        _say_runs(reused, tolerance, out)
    if frozen is not None and reduced is not None and freeze is not None:
        carried, _ = rules.apply(np.array([[frozen[domain] for domain in old]]))
        _write_reduced(out / "reduced", reduced, dict(zip(rules.new, carried[0].tolist(), strict=True)), sha256(freeze))
        _say_reduced(reduced, out / "reduced")


@dataclass(frozen=True)
class Changes:
    """What became of domains; those not named are the same before and after."""

    split: Mapping[str, Sequence[str]] = field(default_factory=dict)
    merge: Mapping[str, Sequence[str]] = field(default_factory=dict)
    add: Sequence[str] = ()
    drop: Sequence[str] = ()

    @property
    def gone(self) -> list[str]:
        """Old domains that something became of."""
        return [*self.split, *(part for parts in self.merge.values() for part in parts), *self.drop]

    @property
    def come(self) -> list[str]:
        """New domains that came of something."""
        return [*(part for parts in self.split.values() for part in parts), *self.merge, *self.add]

    def unchanged(self, old: Sequence[str]) -> list[str]:
        """Old domains that are the same now."""
        return [domain for domain in old if domain not in self.gone]

    def check(self, old: Sequence[str], new: Sequence[str], where: str) -> None:
        """Raise an InputError unless every old domain has one fate and every new one one origin."""
        for names, known, kind in ((self.gone, old, "old"), (self.come, new, "new")):
            for name, count in Counter(names).items():
                if count > 1:
                    raise InputError(f"{name!r}: this {kind} domain is named twice among the changes; name it once")
                if name not in known:
                    table = "the old runs" if kind == "old" else where
                    raise InputError(
                        f"{name!r}: among the changes as {'an' if kind == 'old' else 'a'} {kind} domain, and {table} "
                        f"has none of that name{nearest(name, known)} (there are {some(known, 12)})"
                    )
        for name, parts in (*self.split.items(), *self.merge.items()):
            if len(parts) < 2:
                raise InputError(f"{name!r}: split or merged with {len(parts)} part; two or more are wanted")
        kept = set(self.unchanged(old))
        come = set(self.come)
        if lost := [d for d in old if d in kept and d not in new]:
            raise InputError(
                f"{where}: the old {some(lost)} not there; say what became of it: --split, --merge or --drop"
            )
        if both := [d for d in new if d in kept and d in come]:
            raise InputError(
                f"{where}: {some(both)} would be the old domain and a new one at once; an old domain that a new one "
                "replaces is dropped, split or merged"
            )
        if unknown := [d for d in new if d not in kept and d not in come]:
            raise InputError(
                f"{where}: the new {some(unknown)} in no old run; say where it comes from: --add or --split"
            )


@dataclass(frozen=True)
class Rules:
    """How weights over old domains become weights over new ones.

    Attributes:
        transfer: Shape (num_old, num_new): what part of an old weight goes to which new domain.
        merged: New domain -> (positions of its old parts, their shares of their tokens).
        dropped: Positions of the old domains that are gone.
        changed: Names that old and new domains share though their data differ.
    """

    transfer: np.ndarray
    new: list[str]
    merged: dict[str, tuple[np.ndarray, np.ndarray]]
    dropped: np.ndarray
    changed: list[str]

    def apply(self, weights: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Weights over the new domains, and per rule that may be inexact how far off the rows are.

        Args:
            weights: Shape (num_rows, num_old).

        Returns:
            Weights of shape (num_rows, num_new), rows summing to 1 (to 0 where all was dropped); and "merged <domain>" or
            "dropped" -> total variation between what a row was trained on and what it now says, shape (num_rows,).
        """
        off = {
            f"merged {name}": 0.5
            * np.abs(weights[:, parts] - weights[:, parts].sum(axis=1, keepdims=True) * shares).sum(axis=1)
            for name, (parts, shares) in self.merged.items()
        }
        if len(self.dropped):
            off["dropped"] = weights[:, self.dropped].sum(axis=1)
        moved = weights @ self.transfer
        total = moved.sum(axis=1, keepdims=True)
        return np.divide(moved, total, out=np.zeros_like(moved), where=total > 0), off


def make_rules(
    old: Sequence[str], catalogue: Sequence[Domain], changes: Changes, where: Path, old_domains: Path | None
) -> Rules:
    """The rules for `changes`; splits by the tokens of the new table, merges by those of the old.

    Raises:
        InputError: If tokens that a rule needs are not known.
    """
    new = [d.domain for d in catalogue]
    tokens = {d.domain: d.tokens for d in catalogue}
    old_tokens = {d.domain: d.tokens for d in read_domains(old_domains)} if old_domains is not None else {}
    transfer = np.zeros((len(old), len(new)))
    for name in changes.unchanged(old):
        transfer[old.index(name), new.index(name)] = 1
    for name, parts in changes.split.items():
        shares = _shares(parts, tokens, str(where), f"the weight of {name} is shared by")
        transfer[old.index(name), [new.index(part) for part in parts]] = shares
        total = sum(tokens[part] for part in parts)
        if name in old_tokens and abs(total - old_tokens[name]) > 0.01 * old_tokens[name]:
            say(
                f"{name} had {old_tokens[name]:,} tokens, and the parts it was split into have {total:,}: they are not quite "
                "its data, and old runs say that much less about them"
            )
    merged = {}
    for name, parts in changes.merge.items():
        positions = np.array([old.index(part) for part in parts])
        if old_domains is None:
            raise InputError(
                f"merge {name}: old_domains is missing; the old tokens of {some(parts)} say in which ratio training on "
                f"{name} draws them"
            )
        merged[name] = positions, _shares(parts, old_tokens, str(old_domains), f"{name} draws its parts by")
        transfer[positions, new.index(name)] = 1
    kept = changes.unchanged(old)
    dropped = np.array([old.index(name) for name in changes.drop], dtype=int)
    return Rules(transfer, new, merged, dropped, [d for d in new if d in old and d not in kept])


def _shares(parts: Sequence[str], tokens: Mapping[str, int], where: str, why: str) -> np.ndarray:
    if missing := [part for part in parts if part not in tokens]:
        raise InputError(f"{where}: no tokens of {some(missing)}, and {why} its parts' tokens; add the row")
    counts = np.array([tokens[part] for part in parts], dtype=float)
    if counts.sum() == 0:
        raise InputError(f"{where}: {some(parts)} have no tokens, and {why} its parts' tokens; fill them in")
    return counts / counts.sum()


def check_data(old: Path | None, new: Path | None, unchanged: Sequence[str]) -> str:
    """What is known about the data of unchanged domains and the tokenizer, in a sentence.

    Raises:
        InputError: If the token manifests say that they differ.
    """
    held = [folder is not None and (Path(folder) / "manifest.json").exists() for folder in (old, new)]
    if old is None or new is None or not all(held):
        lacking = [
            f"{which} {f'in {folder}' if folder is not None else f'({flag} is not given)'}"
            for which, flag, folder, there in zip(
                ("of the old domains", "of the new domains"),
                ("--old_tokens", "--tokens"),
                (old, new),
                held,
                strict=True,
            )
            if not there
        ]
        return (
            f"Not checked: whether tokenizer and unchanged data are the same, since there is no token manifest "
            f"{' and none '.join(lacking)}. If they changed, old losses mislead."
        )
    before, after = read_tokens_manifest(old), read_tokens_manifest(new)
    if before.tokenizer.get("sha256") != after.tokenizer.get("sha256"):
        raise InputError(
            f"{new}/manifest.json: the tokenizer is another one (sha256 {after.tokenizer.get('sha256')}) than in {old} "
            f"({before.tokenizer.get('sha256')}), so old losses are in other units; tokenize the new domains with the old one"
        )
    for split in ("train", "valid"):
        for domain in unchanged:
            for folder, manifest in ((old, before), (new, after)):
                if domain not in manifest.splits[split] and split == "train":
                    raise InputError(f"{folder}/manifest.json: no domain {domain!r}, which is said to be unchanged")
            if not all(domain in manifest.splits[split] for manifest in (before, after)):
                continue
            hashes = [shards_sha256(manifest.splits[split][domain]) for manifest in (before, after)]
            if hashes[0] != hashes[1]:
                raise InputError(
                    f"{new}/manifest.json: {split}/{domain} is said to be unchanged and holds other tokens (sha256 "
                    f"{hashes[1]}) than in {old} ({hashes[0]}); name it in both --drop and --add, or bring back the old data"
                )
    return f"Checked: the tokenizer and the tokens of {len(unchanged)} unchanged domains are the same (SHA-256)."


def shards_sha256(shards: Iterable[Shard]) -> str:
    """One hash for a domain's shards: that of the only one, else that of their hashes in order."""
    hashes = [shard.sha256 for shard in shards]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


@dataclass(frozen=True)
class Reused:
    """Old runs over the new domains.

    Attributes:
        runs: Those with weights over the new domains, all of them.
        off: Rule -> how far off each run is (total variation), shape (num_runs,).
        kept: Which of them count, shape (num_runs,).
    """

    runs: Runs
    off: dict[str, np.ndarray]
    kept: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """How far off the runs are, by all rules together, shape (num_runs,)."""
        return sum(self.off.values(), start=np.zeros(len(self.kept)))


def carry_over(runs: Runs, rules: Rules, tolerance: float, where: str) -> Reused:
    """Old runs over the new domains, and which of them are near enough to what they were trained on.

    Raises:
        InputError: If none is.
    """
    weights, off = rules.apply(runs.weights)
    reused = Reused(replace(runs, domains=rules.new, weights=weights), off, np.ones(len(weights), dtype=bool))
    kept = (reused.total <= tolerance + ROUNDING) & (weights.sum(axis=1) > 0.5)
    if not kept.any():
        raise InputError(
            f"{where}: none of {len(kept)} runs counts over the new domains; the nearest is {reused.total.min():.3g} off "
            f"(total variation), and tolerance is {tolerance:g}. Raise it, or train new runs"
        )
    return replace(reused, kept=kept)


def join_runs(reused: Reused, fresh: Runs | None, changed: Sequence[str], where: str) -> Runs:
    """The old runs that count, and below them the new ones, with the targets that both have.

    New runs whose keys are taken are numbered after the old ones.

    Args:
        reused: The old runs.
        fresh: Runs over the new domains.
        changed: Domains whose name stayed and whose data did not: their old and new losses are not one target.
        where: The file of the new mixtures, for messages.

    Raises:
        InputError: If the new runs are over other domains, or share no target with the old.
    """
    runs, kept = reused.runs, reused.kept
    index = [key for key, keep in zip(runs.index, kept, strict=True) if keep]
    stale = [target for target in runs.targets if loss_domain(target) in changed]
    if fresh is None:
        if stale:
            say(f"{some(map(loss_domain, stale))}: the losses are those on the old data of that name")
        return replace(runs, index=index, weights=runs.weights[kept], losses=runs.losses[kept])
    weights = align_domains(fresh.weights, fresh.domains, runs.domains, where)
    targets = [target for target in runs.targets if target in fresh.targets and target not in stale]
    left = [t for t in dict.fromkeys((*runs.targets, *fresh.targets)) if t not in targets]
    if not targets:
        raise InputError(f"{where}: old and new runs have no target in common ({some(map(loss_domain, left), 12)})")
    if left:
        say(f"left out, as old and new runs do not share them: the targets {some(map(loss_domain, left), 12)}")
    old_columns, new_columns = ([r.targets.index(target) for target in targets] for r in (runs, fresh))
    return Runs(
        index + free_keys(fresh.index, runs.index),
        runs.domains,
        targets,
        np.vstack([runs.weights[kept], weights]),
        np.vstack([runs.losses[kept][:, old_columns], fresh.losses[:, new_columns]]),
    )


def free_keys(keys: Sequence[Key], taken: Sequence[Key]) -> list[Key]:
    """`keys` as they are if they can stand beside `taken`, else numbered after these or marked as new."""
    if not set(keys) & set(taken) and {type(k) for k in keys} == {type(k) for k in taken}:
        return list(keys)
    if all(isinstance(k, int) for k in (*keys, *taken)):
        last = max(int(k) for k in taken)
        return [last + int(k) for k in keys] if min(map(int, keys)) > 0 else [last + i for i in range(1, len(keys) + 1)]
    return [f"new-{k}" for k in keys]


@dataclass(frozen=True)
class Reduced:
    """What changed, and one virtual domain for all that did not.

    Attributes:
        domains: The table to draw mixtures from, the virtual domain first.
        members: Unchanged domain -> its weight within the virtual one (sum 1; 0 where the mixture has none of it).
        all_domains: The domains that `proxymix expand` leads back to.
        total: Tokens of the members together.
    """

    domains: list[Domain]
    members: dict[str, float]
    all_domains: list[str]
    total: int


def reduce_domains(
    catalogue: Sequence[Domain], mixture: Mapping[str, float], unchanged: Sequence[str], where: str
) -> Reduced:
    """The domains that changed, and all others as one.

    The virtual domain's tokens are those that it can give at these weights before a member repeats, so an epoch cap on
    it is one on each of its members.

    Args:
        catalogue: The new domains.
        mixture: Domain -> weight, over the old domains.
        unchanged: Domains that keep their relative weights.
        where: The mixture's file, for messages.

    Raises:
        InputError: If the mixture has no weight there, or weight on a domain without tokens.
    """
    names = [d.domain for d in catalogue]
    inside = math.fsum(mixture[name] for name in unchanged)
    if inside <= 0:
        raise InputError(
            f"{where}: no weight on any unchanged domain ({some(unchanged, 12)}), so there is nothing to freeze"
        )
    if FROZEN in names:
        raise InputError(
            f"{where}: a domain is named {FROZEN!r}, which is what the virtual domain is called; rename it"
        )
    members = {name: mixture[name] / inside for name in unchanged}
    by_name = {d.domain: d for d in catalogue}
    if empty := [name for name, share in members.items() if share > 0 and by_name[name].tokens == 0]:
        raise InputError(f"{where}: weight on {some(empty)}, which has no tokens in the new table")
    used = {name: share for name, share in members.items() if share > 0}
    tokens = math.floor(min(by_name[name].tokens / share for name, share in used.items()) * (1 + 1e-12))

    def drawn(count: str) -> int:
        return round(sum(tokens * share * getattr(by_name[n], count) / by_name[n].tokens for n, share in used.items()))

    virtual = Domain(FROZEN, tokens, drawn("documents"), drawn("bytes"), 0.0)
    affected = [d for d in catalogue if d.domain not in members]
    total = tokens + sum(d.tokens for d in affected)
    table = [replace(d, prior=d.tokens / total) for d in (virtual, *affected)]
    return Reduced(table, members, names, sum(by_name[name].tokens for name in members))


def _write_runs(out: Path, reused: Reused, joined: Runs, fresh: Sequence[Key]) -> None:
    """OUT/reuse.csv, losses.csv, and last mixtures.csv."""
    rules = list(reused.off)
    rows: list[list[object]] = []
    for i, key in enumerate(reused.runs.index):
        rows.append([key, "old", key, "yes" if reused.kept[i] else "no", float(reused.total[i])])
        rows[-1] += [float(reused.off[rule][i]) for rule in rules]
    for key, source in zip(joined.index[int(reused.kept.sum()) :], fresh, strict=True):
        rows.append([key, "new", source, "yes", 0.0, *[0.0] * len(rules)])
    columns = [f"off_{rule.replace(' ', '_')}" for rule in rules]
    write_table(out / "reuse.csv", ["index", "runs", "source_index", "counts", "off", *columns], rows)
    for name, header, values in (
        ("losses.csv", joined.targets, joined.losses),
        ("mixtures.csv", [f"train_{domain}" for domain in joined.domains], joined.weights),
    ):
        table = [[key, *map(float, row)] for key, row in zip(joined.index, values, strict=True)]
        write_table(out / name, ["index", *header], table)


def _say_runs(reused: Reused, tolerance: float, out: Path) -> None:
    kept, total = reused.kept, reused.total
    say(f"{kept.sum()} of {len(kept)} old runs count over the new domains: {out}/mixtures.csv and losses.csv")
    for rule, off in reused.off.items():
        inexact = off > ROUNDING
        if inexact.any():
            say(
                f"  {rule}: {inexact.sum()} runs are not exact, off by {np.median(off[inexact]):.3g} in the median and "
                f"{off.max():.3g} at most (total variation); {(inexact & kept).sum()} of them are kept"
            )
    if not kept.all():
        out_keys = [key for key, keep in zip(reused.runs.index, kept, strict=True) if not keep]
        say(
            f"  left out, further off than tolerance {tolerance:g}: {some(out_keys)}; {out}/reuse.csv lists them. "
            f"The nearest of them is {total[~kept].min():.3g} off"
        )


def _write_reduced(folder: Path, reduced: Reduced, carried: Mapping[str, float], mixture_sha256: str) -> None:
    """carried_mixture.yaml, frozen.yaml, and last domains.csv."""
    if sum(carried.values()) > 0:
        write_mixture(folder / "carried_mixture.yaml", carried, {"model_name": "carried"})
    content = {
        "frozen": FROZEN,
        "members": reduced.members,
        "domains": reduced.all_domains,
        "mixture_sha256": mixture_sha256,
    }
    write_yaml(folder / "frozen.yaml", content)
    write_domains(folder / "domains.csv", reduced.domains)


def _say_reduced(reduced: Reduced, folder: Path) -> None:
    affected = [d.domain for d in reduced.domains[1:]]
    if not affected:
        say(
            f"Nothing has to be learnt again: no domain is new or changed, and {folder}/carried_mixture.yaml has the weights of "
            "those that are left"
        )
        return
    num_domains, virtual = len(reduced.members), reduced.domains[0]
    say(
        f"{folder}/domains.csv: {FROZEN} ({num_domains} domains as they were) and {some(affected, 12)}. {FROZEN} has "
        f"{virtual.tokens:,} of its {reduced.total:,} tokens, as many as it can give at these weights before one repeats. Next:\n"
        f"  proxymix synthesize --domains {folder}/domains.csv --out {folder}\n"
        f"  proxymix expand --mixtures {folder} --frozen {folder}/frozen.yaml --out {folder}/expanded"
    )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(reuse)
