"""A study's configuration -> what can be known to fail, found before anything is written, measured or trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_preparation.documents.corpus import corpus_files
from data_preparation.tokens.tokenizer import load_tokenizer
from mixture_config.geometry.constraints import Constraints
from proxymix.app.config import Config, path_settings
from proxymix.app.parameters import build_arguments
from proxymix.app.stages import stage_named
from proxymix.app.study import Study
from proxymix.errors import InputError
from proxymix.schemas import Domains, loss_column
from regression.data.objective import resolved_objective
from regression.search.feasible_set import FeasibleSet


def check_given(study: Study, config: Config) -> None:
    """Check the files that are given and every setting that names domains, as far as the domains are known.

    Raises:
        InputError: If a file is missing or faulty, or a setting names what there is not.
    """
    for key in path_settings():
        path = config.get(key)
        if path is not None and not Path(path).exists():
            raise InputError(f"{key}: {path}: no such file or folder")
    corpus, tokenizer = config.get("corpus.path"), config.get("tokenize.tokenizer")
    tokenize, names = stage_named("tokenize"), []
    if not study.path.exists() or study.state(tokenize, study.call(tokenize, config)) != "done":
        if tokenizer is not None:
            load_tokenizer(Path(tokenizer), config.get("tokenize.eos_token"))
        names = list(corpus_files(Path(corpus))["train"]) if corpus is not None else []
    elif (study.path / "domains.csv").exists():
        names = _known_names(study.path / "domains.csv")
    if names:
        _check_names(study, config, names)


def check_counted(study: Study, config: Config) -> None:
    """Check what depends on the domains and their tokens, as soon as they are counted: the objective and the limits.

    Raises:
        InputError: If the objective cannot be met, or no mixture is within the limits.
    """
    path = study.path / "domains.csv"
    domains = Domains.read(path)
    _check_names(study, config, domains.names)
    FeasibleSet.of(_constraints(study, config), domains.names, domains.prior, domains.tokens.astype(float), path)


def _known_names(path: Path) -> list[str]:
    try:
        return list(Domains.read(path).names)
    except InputError:  # it is made again
        return []


def _check_names(study: Study, config: Config, names: Sequence[str]) -> None:
    resolved_objective(config["objective"], [loss_column(name) for name in names])
    replace(_constraints(study, config), budget=None).bounds(names)


def _constraints(study: Study, config: Config) -> Constraints:
    propose = stage_named("propose")
    found = build_arguments(propose.load(), study.call(propose, config))["constraints"]
    assert isinstance(found, Constraints)
    return found
