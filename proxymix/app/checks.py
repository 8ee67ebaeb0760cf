"""A study's configuration -> what can be known to fail, found before anything is written, measured or trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_preparation.documents.corpus import corpus_files
from data_preparation.documents.installed_files import DOMAINS
from data_preparation.tokens.tokenizer import load_tokenizer
from data_preparation.tokens.true_sizes import check_named
from mixture_config.design.references import check_names
from mixture_config.geometry.constraints import Constraints
from proxymix.app.config import Config, path_settings, setting_of
from proxymix.app.parameters import build_arguments, parameters
from proxymix.app.stages import stage_named
from proxymix.app.study import Study
from proxymix.errors import InputError
from proxymix.messages import nearest
from proxymix.schemas import Domains, loss_column
from regression.data.objective import resolved_objective
from regression.data.runs import resolve_targets
from regression.search.feasible_set import FeasibleSet


def check_given(study: Study, config: Config) -> None:
    """Check the files that are given and every setting that names domains, as far as the domains are known.

    Raises:
        InputError: If a file is missing or faulty, or a setting names what there is not.
    """
    for key in path_settings():
        path = config.get(key) if key != "tokenize.tokenizer" else None  # what reads it knows more to say
        if path is not None and not Path(path).exists() and not _was_read(study, config, key):
            parent = Path(path).absolute().parent
            beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
            raise InputError(f"{key}: {path}: no such file or folder{nearest(Path(path).name, beside)}")
    corpus, tokenizer = config.get("corpus.path"), config.get("tokenize.tokenizer")
    tokenize, names = stage_named("tokenize"), []
    if not study.path.exists() or study.state(tokenize, study.call(tokenize, config)) != "done":
        if tokenizer is not None:
            load_tokenizer(Path(tokenizer), config.get("tokenize.eos_token"))
        names = list(corpus_files(Path(corpus))["train"]) if corpus is not None else list(DOMAINS)
    elif (study.path / "domains.csv").exists():
        count = stage_named("count")
        if study.state(count, study.call(count, config)) == "done":
            check_counted(study, config)
            return
        names = _known_names(study.path / "domains.csv")
    if names:
        check_named(names, config.get("corpus.counts"), config.get("corpus.multiplier"))
        _check_names(study, config, names)


def check_counted(study: Study, config: Config) -> None:
    """Check what depends on the domains and their tokens, as soon as they are counted: the objective and the limits.

    Raises:
        InputError: If the objective cannot be met, or no mixture is within the limits.
    """
    path = study.path / "domains.csv"
    domains = Domains.read(path)
    _check_names(study, config, domains.names)
    FeasibleSet.of(_constraints(study, config), domains.names, domains.prior, domains.true_tokens.astype(float), path)


def _was_read(study: Study, config: Config, key: str) -> bool:
    """Whether a path that is not there is the one that a stage has read, and that stage's results are whole.

    So a study that was copied elsewhere can go on without its corpus.
    """
    readers = [
        stage
        for stage in study.stages(config)
        if key in (setting_of(stage, name) for name in parameters(stage.load()))
        or (key == "corpus.path" and stage.name == "tokenize")
    ]
    return str(study.config().get(key)) == str(config[key]) and all(
        study.state(stage, study.call(stage, config)) == "done" for stage in readers
    )


def _known_names(path: Path) -> list[str]:
    try:
        return list(Domains.read(path).names)
    except InputError:  # it is made again
        return []


def _check_names(study: Study, config: Config, names: Sequence[str]) -> None:
    targets = [loss_column(name) for name in names]
    if config.get("fit.targets"):
        targets = resolve_targets(config["fit.targets"], targets, "fit.targets")
    resolved_objective(config["objective"], targets)
    replace(_constraints(study, config), budget=None).bounds(names)
    try:
        Constraints(limits=config.get("synthesize.limits"), groups=config.get("synthesize.groups")).bounds(names)
        check_names(config.get("synthesize.include") or [])
    except InputError as error:
        raise InputError(f"synthesize: {error}") from None


def _constraints(study: Study, config: Config) -> Constraints:
    propose = stage_named("propose")
    found = build_arguments(propose.load(), study.call(propose, config))["constraints"]
    assert isinstance(found, Constraints)
    return found
