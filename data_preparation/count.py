"""Token shards -> domains.csv: tokens, documents and bytes of every training domain, and the prior.

python data_preparation/count.py --tokens studies/mine/tokens --out studies/mine/domains.csv
"""

from pathlib import Path

from proxymix.errors import InputError
from proxymix.schemas import Domain, read_tokens_manifest, write_domains


def count(tokens: Path, out: Path) -> None:
    """Write how many training tokens each domain has; the prior is a domain's share of all of them.

    Args:
        tokens: Folder of token shards, with its manifest.json.
        out: The CSV to write (domain, tokens, documents, bytes, prior).
    """
    manifest = read_tokens_manifest(tokens)
    total = sum(manifest.total("train", domain, "tokens") for domain in manifest.domains("train"))
    if total == 0:
        raise InputError(
            f"{tokens}/manifest.json: no training tokens; run `proxymix tokenize` on a corpus that holds text"
        )
    rows = []
    for domain in manifest.domains("train"):
        num_tokens, documents, num_bytes = (
            manifest.total("train", domain, of) for of in ("tokens", "documents", "bytes")
        )
        rows.append(Domain(domain, num_tokens, documents, num_bytes, prior=num_tokens / total))
    write_domains(out, rows)


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(count)
