"""Token shards -> domains.csv: tokens, documents and bytes of every training domain, and the prior.

python data_preparation/count.py --tokens studies/mine/tokens --out studies/mine/domains.csv
"""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_preparation.tokens.true_sizes import true_sizes
from proxymix.errors import InputError
from proxymix.messages import aligned, next_command
from proxymix.progress import say
from proxymix.schemas import Domains, read_tokens_manifest


def count(tokens: Path, out: Path, counts: Path | None = None, multiplier: dict[str, float] | None = None) -> None:
    """Write how many training tokens each domain has. The prior is a domain's share of all of them.

    The tokens on disk may be a sample. The prior, and all later limits on epochs, then go by the true sizes.

    Args:
        tokens: Folder of token shards, with its manifest.json.
        out: The CSV to write (domain, tokens, documents, bytes, prior; available_tokens where true sizes are given).
        counts: True sizes: a CSV of domain,tokens or the JSONL that `baseline --domains` reads, with all domains.
        multiplier: True sizes as multiples of those on disk, such as {web: 1000, code: 50}; a domain that is not named
            is all there.

    Raises:
        InputError: If there are no training tokens, both counts and multiplier are given, or one of them names other
            domains or holds a size that cannot be.
    """
    manifest = read_tokens_manifest(tokens)
    names = manifest.domains("train")
    columns = ([manifest.total("train", name, of) for name in names] for of in ("tokens", "documents", "bytes"))
    domains = Domains(tuple(names), *map(np.array, columns))
    if not domains.tokens.any():
        raise InputError(
            f"{tokens}/manifest.json: no training tokens; run `proxymix tokenize` on a corpus that holds text"
        )
    sizes = true_sizes(names, domains.tokens.tolist(), counts, multiplier)
    if sizes is not None:
        domains = replace(domains, available_tokens=np.array(sizes))
    domains.write(out)
    _say_sizes(domains)
    say(f"Written: {out}")
    say(f"Next: {next_command(out, 'synthesize', f'--domains {shlex.quote(str(out))} --num_mixtures 64 --out .')}")


def _say_sizes(domains: Domains) -> None:
    rows = [("domain", "tokens on disk", "tokens in all", "prior", "")]
    sizes = zip(domains.names, domains.tokens.tolist(), domains.true_tokens.tolist(), domains.prior, strict=True)
    rows += [(name, f"{on_disk:,}", f"{true:,}", f"{prior:.2%}", "") for name, on_disk, true, prior in sizes]
    say(aligned(rows))
    if domains.is_sample:
        say("The prior, limits on epochs and the proposal go by the tokens in all.")
    else:
        say(
            "What is on disk is taken for the whole corpus. If it is a sample, give the true sizes with --counts or --multiplier "
            "(in a study: corpus.counts or corpus.multiplier)."
        )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(count)
