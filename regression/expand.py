"""Mixtures over frozen and changed domains -> the same mixtures over all domains: the way back from `proxymix reuse --freeze`.

python regression/expand.py --mixtures reused/reduced --frozen reused/reduced/frozen.yaml --out reused/reduced/expanded
"""

import shlex
from pathlib import Path

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from proxymix.errors import InputError
from proxymix.files import remove
from proxymix.progress import progress, say
from proxymix.schemas import run_id
from regression.reuse_rules.frozen_domains import FrozenDomains

PER_DOMAIN = ("valid", "weights", "epochs", "caps")
"""What a mixture's YAML says of single domains, the virtual one among them. All else is carried over."""


def expand(mixtures: Path, frozen: Path, out: Path) -> None:
    """Spread the weight of the frozen virtual domain over its members, at the relative weights that it stands for.

    A sweep becomes OUT/mixtures/ and OUT/mixtures.csv under the same keys, ready for `proxymix sweep`. A single mixture,
    such as the optimal_mixture.yaml proposed over the reduced domains, becomes the YAML OUT.

    Args:
        mixtures: A table or folder of mixtures over the reduced domains, or one mixture's YAML.
        frozen: The frozen.yaml beside the reduced domains.csv.
        out: Folder to write, or the YAML if a single mixture is expanded.

    Raises:
        InputError: If the mixtures are over other domains than the reduced ones.
    """
    members = FrozenDomains.read(frozen)
    single = Path(mixtures).suffix in (".yaml", ".yml")
    if single != (Path(out).suffix in (".yaml", ".yml")):
        raise InputError(
            f"{out}: {'one mixture becomes a YAML' if single else 'a sweep becomes a folder'}; name one with --out"
        )
    reduced = MixtureTable.read(mixtures)
    weights = members.expanded(reduced.aligned(members.reduced, str(mixtures)))
    rows = [dict(zip(members.domains, row.tolist(), strict=True)) for row in weights]
    extra = {"frozen": members.members}
    if single:
        about = {key: value for key, value in Mixture.read(mixtures).extra.items() if key not in PER_DOMAIN}
        Mixture(rows[0], about | extra).write(out)
        say(f"Written: {out}, a mixture of {len(members.domains)} domains")
        say(f"Next: proxymix export --mixture {shlex.quote(str(out))} --to megatron")
        return
    remove(out / "mixtures.csv")
    with progress("write mixtures", total=len(rows), unit="files") as bar:
        for key, row in zip(reduced.index, rows, strict=True):
            file = run_id(key) if isinstance(key, int) else key
            Mixture(row, {"model_name": file, **extra}).write(out / "mixtures" / f"{file}.yaml")
            bar.advance()
    MixtureTable(reduced.index, members.domains, weights).write(out / "mixtures.csv")
    say(f"Written: {out}/mixtures.csv and {out}/mixtures, {len(rows)} mixtures of {len(members.domains)} domains")
    say(f"Next: proxymix sweep --mixtures {shlex.quote(str(out / 'mixtures'))} --tokens TOKENS --out PROXIES")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(expand)
