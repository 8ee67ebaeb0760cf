"""Mixtures over frozen and changed domains -> the same mixtures over all domains: the way back from `proxymix reuse --freeze`.

python regression/expand.py --mixtures reused/reduced --frozen reused/reduced/frozen.yaml --out reused/reduced/expanded
"""

from pathlib import Path

import numpy as np

from mixture_config.files.mixture import normalised, read_mixture, write_mixture
from mixture_config.files.mixture_table import read_mixtures
from proxymix.errors import InputError
from proxymix.files import read_yaml, remove
from proxymix.progress import progress, say
from proxymix.schemas import run_id
from proxymix.tables import write_table
from regression.data.runs import align_domains

PER_DOMAIN = ("valid", "epochs", "caps")
"""What a mixture's YAML says of single domains, the virtual one among them; the rest is carried over."""


def expand(mixtures: Path, frozen: Path, out: Path) -> None:
    """Spread the weight of the frozen virtual domain over its members, at the relative weights that it stands for.

    A sweep becomes OUT/mixtures/ and OUT/mixtures.csv under the same keys, ready for `proxymix sweep`; a single mixture, such
    as the optimal_mixture.yaml proposed over the reduced domains, becomes the YAML OUT.

    Args:
        mixtures: A table or folder of mixtures over the reduced domains, or one mixture's YAML.
        frozen: The frozen.yaml beside the reduced domains.csv.
        out: Folder to write, or the YAML if a single mixture is expanded.

    Raises:
        InputError: If the mixtures are over other domains than the reduced ones.
    """
    name, members, domains = read_frozen(frozen)
    single = Path(mixtures).suffix in (".yaml", ".yml")
    if single != (Path(out).suffix in (".yaml", ".yml")):
        raise InputError(
            f"{out}: {'one mixture becomes a YAML' if single else 'a sweep becomes a folder'}; name one with --out"
        )
    affected = [domain for domain in domains if domain not in members]
    spread = np.zeros((1 + len(affected), len(domains)))
    spread[0, [domains.index(domain) for domain in members]] = list(members.values())
    spread[np.arange(1, len(spread)), [domains.index(domain) for domain in affected]] = 1
    table = read_mixtures(mixtures)
    weights = align_domains(table.weights, table.domains, [name, *affected], str(mixtures)) @ spread
    weights /= weights.sum(axis=1, keepdims=True)
    rows = [dict(zip(domains, row.tolist(), strict=True)) for row in weights]
    extra = {"frozen": members}
    if single:
        about = {key: value for key, value in read_mixture(mixtures)[1].items() if key not in PER_DOMAIN}
        write_mixture(out, rows[0], about | extra)
        return
    remove(out / "mixtures.csv")
    with progress("write mixtures", total=len(rows), unit="files") as bar:
        for key, row in zip(table.index, rows, strict=True):
            file = run_id(key) if isinstance(key, int) else key
            write_mixture(out / "mixtures" / f"{file}.yaml", row, {"model_name": file, **extra})
            bar.advance()
    header = ["index", *(f"train_{domain}" for domain in domains)]
    write_table(
        out / "mixtures.csv", header, [[key, *row] for key, row in zip(table.index, weights.tolist(), strict=True)]
    )
    say(f"{len(rows)} mixtures over {len(domains)} domains: {out}/mixtures.csv and {out}/mixtures")


def read_frozen(path: Path) -> tuple[str, dict[str, float], list[str]]:
    """frozen.yaml -> the virtual domain's name, its members' relative weights, and all domains.

    Raises:
        InputError: If it is not what `proxymix reuse --freeze` writes.
    """
    content = read_yaml(path)
    name, members, domains = (content.get(key) for key in ("frozen", "members", "domains"))
    if not isinstance(name, str) or not isinstance(members, dict) or not isinstance(domains, list):
        raise InputError(f"{path}: no frozen, members and domains; give the frozen.yaml of `proxymix reuse --freeze`")
    if strange := [domain for domain in members if domain not in domains]:
        raise InputError(
            f"{path}: the member {strange[0]!r} is not among its domains; write it again with `proxymix reuse`"
        )
    return name, normalised({str(domain): weight for domain, weight in members.items()}, f"{path}: members"), domains


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(expand)
