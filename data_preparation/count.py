"""Token shards -> domains.csv: tokens, documents and bytes of every training domain, and the prior.

python data_preparation/count.py --tokens studies/mine/tokens --out studies/mine/domains.csv
"""

from pathlib import Path

from proxymix.cli import run
from proxymix.errors import InputError
from proxymix.schemas import Domain, read_tokens_manifest, write_domains


def count(tokens: Path, out: Path) -> None:
    """Write how many training tokens each domain has; the prior is a domain's share of all of them.

    Args:
        tokens: Folder of token shards, with its manifest.json.
        out: The CSV to write (domain, tokens, documents, bytes, prior).
    """
    manifest = read_tokens_manifest(tokens)
    counts = [
        (domain, *(manifest.total("train", domain, of) for of in ("tokens", "documents", "bytes")))
        for domain in manifest.domains("train")
    ]
    total = sum(row[1] for row in counts)
    if total == 0:
        raise InputError(f"{tokens}/manifest.json: no training tokens; run `proxymix tokenize` on a corpus that holds text")
    write_domains(out, [Domain(*row, prior=row[1] / total) for row in counts])


if __name__ == "__main__":
    run(count)
