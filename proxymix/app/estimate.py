"""A study's configuration -> how large its proxies are, and how long their training will take."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proxymix.app.changes import Changes
from proxymix.app.config import Config
from proxymix.app.stages import Training
from proxymix.app.study import Study
from proxymix.errors import InputError, StageError
from proxymix.progress import duration, say
from proxymix.schemas import read_tokens_manifest

if TYPE_CHECKING:
    from proxy_training.runs.run_folder import RunFolder
    from proxy_training.runs.settings import TrainSettings


def say_cost(study: Study, config: Config) -> None:
    """Say how large a proxy is, and the FLOP of the sweep, where the vocabulary is known already."""
    from proxy_training.device.counting import counted
    from proxy_training.runs.settings import TrainSettings

    vocabulary = _vocabulary(study, config)
    if vocabulary is None:
        return
    counts = counted(TrainSettings(**config.section("train")), vocabulary)
    num_runs = int(config["synthesize.num_mixtures"])
    say(
        f"a proxy: {counts.total_parameters:,} parameters, {counts.num_parameters:,} of them without embedding and head; "
        f"{counts.flops_per_token / 1e6:,.3g} MFLOP a token, {counts.head_share:.0%} in the head (vocabulary {vocabulary:,})"
    )
    say(f"the sweep: {num_runs * counts.run_flop:.3g} FLOP, {num_runs:,} x {counts.run_tokens:,} tokens")


def _vocabulary(study: Study, config: Config) -> int | None:
    """Ids of the tokenizer, as far as they are known before the corpus is tokenised."""
    given = config["tokenize.tokenizer"]
    with contextlib.suppress(InputError):  # one that is damaged is made again
        return int(read_tokens_manifest(study.path / "tokens").tokenizer["vocabulary"])
    if given is None:
        return int(config["tokenize.vocab_size"])
    if not Path(given).exists():
        return None
    from data_preparation.tokens.tokenizer import load_tokenizer, vocabulary_of

    return vocabulary_of(load_tokenizer(Path(given), config["tokenize.eos_token"]))


def say_duration(study: Study, config: Config, found: Changes, calibrate: bool = False) -> None:
    """Say how many proxies will be trained and how long that will take.

    Args:
        study: The study.
        config: Its configuration.
        found: What the configuration changes in it.
        calibrate: Whether to train for some seconds to find out; otherwise by what was measured earlier, or roughly.
    """
    from proxy_training.runs.settings import TrainSettings

    sweeps = {stage: num for stage, num in planned_training(study, config, found).items() if num > 0}
    if not sweeps:
        return
    train, total = TrainSettings(**config.section("train")), sum(sweeps.values())
    vocabulary = _vocabulary(study, config) or int(config["tokenize.vocab_size"])
    try:
        seconds, how = _seconds([*sweeps.values()], train, vocabulary, config["workers"], calibrate)
    except (StageError, OSError) as error:  # What is only told must not fail what is to be done.
        say(f"{total} proxies to train; how long that takes cannot be told: {error}")
        return
    parts = ", ".join(f"{num} by {name}" for name, num in sweeps.items())
    say(f"{total} proxies of {train.tokens:,} tokens to train ({parts}): about {duration(seconds)}, {how}")


def _seconds(
    sweeps: Sequence[int], train: "TrainSettings", vocabulary: int, workers: int | None, calibrate: bool
) -> tuple[float, str]:
    """How long sweeps of some sizes take, and how that is known."""
    from proxy_training.device.calibration import expected_seconds
    from proxy_training.device.counting import NUM_DOMAINS
    from proxy_training.launch.train_runs import LAUNCHERS, estimate_seconds

    if calibrate:
        return estimate_seconds(sweeps, train, vocabulary, workers), "by a calibration on this machine"
    most = workers or LAUNCHERS["local"].num_workers(train, vocabulary)
    found = [expected_seconds(train, vocabulary, num, min(num, most), NUM_DOMAINS) for num in sweeps]
    known = all(measured for _, measured in found)
    rough = "roughly, from their FLOP; `proxymix run --dry_run --calibrate` measures it"
    return sum(seconds for seconds, _ in found), "by speeds measured earlier" if known else rough


def planned_training(study: Study, config: Config, found: Changes) -> dict[str, int]:
    """Stage -> proxies that it has still to train, those of a stale stage that no longer hold among them."""
    planned: dict[str, int] = {}
    states = study.states(config)
    for stage in study.stages(config):
        if stage.training is not None and states[stage.name][0] != "done":
            kept = _num_kept(study, stage.training, proposal_holds=states["propose"][0] == "done")
            planned[stage.name] = stage.training.planned(config) - max(kept - found.retrained.get(stage.name, 0), 0)
    return planned


def _num_kept(study: Study, training: Training, proposal_holds: bool) -> int:
    """Runs that are trained and whole; of a confirmation without those at mixtures that may be others."""
    names = [run.path.name for run in _finished(study, training) if run.damaged_file() is None]
    return sum(proposal_holds or not name.startswith(("proposal-", "best_seen-")) for name in names)


def num_trained(study: Study, training: Training) -> int:
    """How many proxies of a stage are trained."""
    return len(_finished(study, training))


def _finished(study: Study, training: Training) -> "list[RunFolder]":
    from proxy_training.runs.run_folder import RunFolder

    folder, _, names = training.runs.rpartition("/")
    return RunFolder.finished_in(study.path / folder, names)
