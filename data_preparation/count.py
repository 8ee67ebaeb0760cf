"""Token shards -> domains.csv: tokens, documents and bytes of every training domain, and the prior.

python data_preparation/count.py --tokens studies/mine/tokens --out studies/mine/domains.csv
"""

from pathlib import Path

import numpy as np

from proxymix.errors import InputError
from proxymix.schemas import Domains, read_tokens_manifest


def count(tokens: Path, out: Path) -> None:
    """Write how many training tokens each domain has. The prior is a domain's share of all of them.

    Args:
        tokens: Folder of token shards, with its manifest.json.
        out: The CSV to write (domain, tokens, documents, bytes, prior).

    Raises:
        InputError: If there are no training tokens.
    """
    manifest = read_tokens_manifest(tokens)
    names = manifest.domains("train")
    columns = ([manifest.total("train", name, of) for name in names] for of in ("tokens", "documents", "bytes"))
    domains = Domains(tuple(names), *map(np.array, columns))
    if not domains.tokens.any():
        raise InputError(
            f"{tokens}/manifest.json: no training tokens; run `proxymix tokenize` on a corpus that holds text"
        )
    domains.write(out)


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(count)
