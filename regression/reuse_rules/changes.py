"""What became of domains, as a user says it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxymix.errors import InputError
from proxymix.messages import nearest, some


@dataclass(frozen=True)
class Changes:
    """What became of domains. Those that are not named are the same before and after.

    Attributes:
        split: Old domain -> the new domains that it was split into.
        merge: New domain -> the old domains that were merged into it.
        add: New domains whose data no old run has seen.
        drop: Old domains whose data is gone.
    """

    split: Mapping[str, Sequence[str]] = field(default_factory=dict)
    merge: Mapping[str, Sequence[str]] = field(default_factory=dict)
    add: Sequence[str] = ()
    drop: Sequence[str] = ()

    @property
    def changed_old(self) -> list[str]:
        """Old domains that were split, merged or dropped."""
        return [*self.split, *(part for parts in self.merge.values() for part in parts), *self.drop]

    @property
    def changed_new(self) -> list[str]:
        """New domains that were added, or made by splitting or merging."""
        return [*(part for parts in self.split.values() for part in parts), *self.merge, *self.add]

    def unchanged(self, old: Sequence[str]) -> list[str]:
        """Old domains that are the same now."""
        return [domain for domain in old if domain not in self.changed_old]

    def check(self, old: Sequence[str], new: Sequence[str], where: str) -> None:
        """Check that every old domain has one fate and every new one has one origin.

        Raises:
            InputError: If a domain is named twice, unknown, or unaccounted for.
        """
        for names, known, kind in ((self.changed_old, old, "old"), (self.changed_new, new, "new")):
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
        made = set(self.changed_new)
        if lost := [d for d in old if d in kept and d not in new]:
            raise InputError(
                f"{where}: the old {some(lost)} not there; say what became of it: --split, --merge or --drop"
            )
        if both := [d for d in new if d in kept and d in made]:
            raise InputError(
                f"{where}: {some(both)} would be the old domain and a new one at once; an old domain that a new one "
                "replaces is dropped, split or merged"
            )
        if unknown := [d for d in new if d not in kept and d not in made]:
            raise InputError(
                f"{where}: the new {some(unknown)} in no old run; say where it comes from: --add or --split"
            )
