"""A study's configuration -> how large its proxies are, and how long their training will take."""

import contextlib
from pathlib import Path

from proxymix.app.config import Config
from proxymix.app.stages import Training
from proxymix.app.study import Study
from proxymix.errors import InputError, StageError
from proxymix.progress import duration, say
from proxymix.schemas import read_tokens_manifest


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


def say_duration(study: Study, config: Config) -> None:
    """Say how long the training will take, from a short calibration on this machine."""
    from proxy_training.launch.train_runs import estimate_seconds
    from proxy_training.runs.settings import TrainSettings

    sweeps = []  # proxies to train in each stage that trains some
    for stage in study.stages(config):
        if stage.training is None:
            continue
        if study.path.exists() and study.state(stage, study.call(stage, config)) == "done":
            continue
        trained = 0 if stage.training.at_most else num_trained(study, stage.training)
        sweeps.append(stage.training.planned(config) - trained)
    sweeps = [num_runs for num_runs in sweeps if num_runs > 0]
    if not sweeps:
        return
    train = TrainSettings(**config.section("train"))
    try:
        seconds = estimate_seconds(sweeps, train, int(config["tokenize.vocab_size"]), config["workers"])
    except (StageError, OSError) as error:  # What is only told must not fail what is to be done.
        say(f"{sum(sweeps)} proxies to train; how long that takes cannot be told: {error}")
        return
    say(
        f"{sum(sweeps)} proxies of {train.tokens:,} tokens to train: about {duration(seconds)}, and a minute for the rest"
    )


def num_trained(study: Study, training: Training) -> int:
    """How many proxies of a stage are trained."""
    from proxy_training.runs.run_folder import RunFolder

    folder, _, names = training.runs.rpartition("/")
    return len(RunFolder.finished_in(study.path / folder, names))
