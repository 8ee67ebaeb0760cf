"""Runs + their run folders -> an error unless every run was fed the mixture that its table declares."""

from collections.abc import Sequence
from pathlib import Path

from mixture_config.files.mixture_table import Key
from proxy_training.runs.run_folder import RunFolder
from proxymix.errors import InputError
from proxymix.progress import progress
from proxymix.schemas import run_id
from regression.data.runs import LeftOut, Runs, problem_lines


def check_realised(runs: Runs, folders: Sequence[Path]) -> None:
    """Stop unless every run was fed the mixture that the table declares.

    A run takes whole blocks of sequence_length tokens, which are shared out by largest remainder. The tokens of a domain
    may therefore differ from weight x tokens by less than one block, and by no more.

    Args:
        folders: Folders of run folders, n00001 for index 1, each with a manifest.yaml of declared and realised tokens.
            A run is taken from the first folder that has it.

    Raises:
        InputError: If a run has no manifest, or was fed another mixture. All such runs are listed.
    """
    problems: list[LeftOut] = []
    with progress("check mixtures", total=len(runs.index), unit="runs") as bar:
        for run, weights in zip(runs.index, runs.weights, strict=True):
            name = run_id(run) if isinstance(run, int) else run
            places = [RunFolder(Path(folder) / name) for folder in folders]
            place = next((place for place in places if place.is_finished), places[0])
            problems += _not_as_declared(run, dict(zip(runs.domains, weights.tolist(), strict=True)), place)
            bar.advance()
    if problems:
        num_runs = len({problem.key for problem in problems})
        raise InputError(
            f"{folders[0]}: {num_runs} of {len(runs.index)} runs were not trained on the mixture that the table declares:\n"
            f"{problem_lines(problems, 'run')}\nCorrect the table, or train them again (`proxymix sweep` retrains what changed)"
        )


def _not_as_declared(run: Key, weights: dict[str, float], place: RunFolder) -> list[LeftOut]:
    """Domains of which a run was fed something else than its weight or its own manifest declares."""
    path = place.manifest_path
    if not place.is_finished:
        return [LeftOut(run, "", "", f"{path} is missing")]
    content = place.manifest()
    try:
        declared, realised = content["declared_tokens"], content["realised_tokens"]
        block = content["settings"]["sequence_length"]
        total = sum(realised.values())
        found = []
        for domain in dict.fromkeys([*weights, *declared, *realised]):
            wanted, fed = weights.get(domain, 0.0) * total, realised.get(domain, 0)
            if abs(fed - wanted) > block:
                problem = f"fed {fed:,} of {total:,} tokens, where {wanted:,.0f} are declared by the table"
            elif fed != declared.get(domain, 0):
                problem = f"fed {fed:,} tokens, where {declared.get(domain, 0):,} are declared by {path.name}"
            else:
                continue
            found.append(LeftOut(run, domain, f"{weights.get(domain, 0.0):.4g} of the mixture", problem))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a run's manifest ({error}); run `proxymix sweep` again") from None
    return found
