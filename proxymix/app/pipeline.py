"""A study's YAML -> every stage that it needs, in order; what is done is skipped.

proxymix run --config configs/quickstart.yaml;  proxymix status studies/quickstart
"""

import contextlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixture_config.files.mixture import read_mixture
from proxymix.app.cli import Parser, _first_pass
from proxymix.app.stages import RENAMED, STAGES, Stage, old_keys, parameters
from proxymix.app.study import Study, flatten, further_rounds, plain, schema, stage_settings
from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.progress import duration, say
from proxymix.schemas import loss_column, loss_domain, read_domains, read_tokens_manifest

NUM_CONFIRMED = 5  # the proposal, the prior, the heuristic, the uniform mixture and the best one seen, at most
RUN_HELP = """Everything a study needs, from text to a confirmed optimal_mixture.yaml.

Stages that are done are skipped, so the same command continues after a stop, a kill or a full disk, and ends with the
same bytes. Every setting below can stand in the YAML (sections as mappings) and be overridden by its flag."""


def run_command(arguments: Sequence[str]) -> None:
    """`proxymix run`."""
    parser = Parser("proxymix run", "", RUN_HELP, old_keys(RENAMED))
    parser.add_config_flags(study=False)
    parser.add_flag("dry_run", "Say what would be done and how long it would take, and do nothing.")
    parser.add_flag("update", "Let this configuration replace the study's own; what the change touches is redone.")
    known = schema()
    for key, parameter in known.items():
        parser.add({parameter.name: parameter}, section=key.rpartition(".")[0])
    first, _ = _first_pass().parse_known_args(arguments)
    if first.config:
        parser.fill(flatten(read_yaml(first.config), known, first.config), first.config)
    values = parser.parse(arguments)
    config = {
        key: (values[key.partition(".")[0]][key.partition(".")[2]] if "." in key else values[key]) for key in known
    }
    run_study(config, update=parser.extras["update"], dry_run=parser.extras["dry_run"])


def run_study(config: Mapping[str, Any], update: bool = False, dry_run: bool = False) -> None:
    """Bring a study to its end: each stage that is missing or stale, in order.

    Args:
        config: Every setting by its dotted key, as `proxymix.app.study.schema` lists them.
        update: Whether `config` may replace the study's own.
        dry_run: Only say what would be done.

    Raises:
        InputError: If the folder answers another configuration.
        StageError: If a stage fails, or another process works on the study.
    """
    study = Study(Path(config["study"]))
    stages = [stage for stage in STAGES if study.needed(stage, config)]
    calls = {stage.name: stage_call(study, stage, config) for stage in stages}
    if dry_run:
        for stage in stages:
            say(
                f"{stage.name:<11}{study.state(stage, calls[stage.name]) if study.path.exists() else 'missing':<9}{stage.help}"
            )
        _say_cost(study, calls["sweep"]["train"], config)
        _say_estimate(study, stages, calls, config)
        return
    with study.locked():
        study.adopt({key: plain(value) for key, value in config.items()}, update)
        _say_estimate(study, stages, calls, config)
        for number, stage in enumerate(stages, start=1):
            title = f"[{number}/{len(stages)}] {stage.name}"
            call = stage_call(study, stage, config)
            if study.state(stage, call) == "done":
                say(f"{title}: done already")
            else:
                say(f"{title}: {stage.help}")
                with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer
                    study.perform(stage, stage.load(), call)
            if stage.name == "count":  # an objective that cannot be met is said before hours of training, not after
                targets = [loss_column(domain.domain) for domain in read_domains(study.path / "domains.csv")]
                importlib.import_module("regression.data.objective").resolved_objective(config["objective"], targets)
    print(answer(study.path))


def stage_call(study: Study, stage: Stage, config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with which a study calls a stage."""
    wanted = parameters(stage.load())
    flat = stage_settings(stage, wanted, study.with_budget(config))
    values: dict[str, Any] = {name: path for name, path in study.paths(stage, config).items() if name in wanted}
    for name, parameter in wanted.items():
        if parameter.is_section:
            values[name] = parameter.type(
                **{key.partition(".")[2]: v for key, v in flat.items() if key.startswith(f"{name}.")}
            )
        elif name in flat:
            values[name] = flat[name]
    return values


def _say_cost(study: Study, settings: Any, config: Mapping[str, Any]) -> None:
    """Say how large a proxy is, and the FLOP of the sweep, where the vocabulary is known already."""
    given = config["tokenize.tokenizer"]
    if (study.path / "tokens" / "manifest.json").exists():
        vocabulary = int(read_tokens_manifest(study.path / "tokens").tokenizer["vocabulary"])
    elif given is None:
        vocabulary = int(config["tokenize.vocab_size"])
    elif Path(given).exists():
        tokenizer = importlib.import_module("data_preparation.tokenization").load_tokenizer(
            Path(given), config["tokenize.eos_token"]
        )
        vocabulary = max(tokenizer.get_vocab().values()) + 1
    else:
        return
    counts = importlib.import_module("proxy_training.device.counting").counted(settings, vocabulary)
    num_runs = int(config["synthesize.num_mixtures"])
    say(
        f"a proxy: {counts.total_parameters:,} parameters, {counts.num_parameters:,} of them without embedding and head; "
        f"{counts.flops_per_token / 1e6:,.3g} MFLOP a token, {counts.head_share:.0%} in the head (vocabulary {vocabulary:,})"
    )
    say(f"the sweep: {num_runs * counts.run_flop:.3g} FLOP, {num_runs:,} x {counts.run_tokens:,} tokens")


def _say_estimate(
    study: Study, stages: Sequence[Stage], calls: Mapping[str, Mapping[str, Any]], config: Mapping[str, Any]
) -> None:
    """Say how long the training will take, from a short calibration on this machine."""
    planned = {
        "sweep": int(config["synthesize.num_mixtures"]),
        "rounds": further_rounds(config) * int(config["rounds.num_mixtures"]),
        "confirm": NUM_CONFIRMED * int(config["confirm.num_seeds"]),
    }
    trained = {"sweep": "proxies", "rounds": "rounds/proxies"}
    todo = [
        stage.name
        for stage in stages
        if stage.name in planned and (not study.path.exists() or study.state(stage, calls[stage.name]) != "done")
    ]
    left = [planned[n] - (_num_trained(study, trained[n]) if n in trained else 0) for n in todo]
    sweeps = [num_runs for num_runs in left if num_runs > 0]
    if not sweeps:
        return
    estimate = importlib.import_module("proxy_training.launch.train_runs").estimate_seconds
    seconds = estimate(sweeps, calls["sweep"]["train"], int(config["tokenize.vocab_size"]), config["workers"])
    say(
        f"{sum(sweeps)} proxies of {calls['sweep']['train'].tokens:,} tokens to train: about {duration(seconds)}, and a minute for the rest"
    )


def answer(folder: Path) -> str:
    """What a finished study says: the optimum, what it gained over the baselines with its interval, where the report is."""
    weights, _ = read_mixture(folder / "optimal_mixture.yaml")
    lines = ["", f"The best mixture ({folder / 'optimal_mixture.yaml'}):"]
    for domain, weight in sorted(weights.items(), key=lambda item: -item[1]):
        lines.append(f"  {domain:<28}{weight:8.4f}  {'#' * round(40 * weight)}")
    confirmation = folder / "confirmation.yaml"
    if confirmation.exists():
        found = read_yaml(confirmation)
        lines += [
            "",
            f"Measured on {len(found['seeds'])} fresh seeds, proposal minus baseline ({found['objective']['name']}, "
            f"{found['objective']['unit']}):",
        ]
        for name, difference in found["differences"].items():
            of = difference["objective"]
            word = next(w for w in ("better", "worse", "no better") if name in found[f"{w.replace(' ', '_')}_than"])
            interval = f"95% {of['low']:+.3f} to {of['high']:+.3f}"
            lines.append(
                f"  {name:<12}{of['mean']:+.3f}   {interval:<24}{word} ({of['wins']} of {of['num_seeds']} seeds)"
            )
        for target, entry in found.get("ceilings", {}).items():
            rise = f"{100 * entry['rise']:+.2f}% against the prior, {100 * entry['allowed']:.4g}% allowed"
            word = "kept" if entry["kept"] else "NOT kept"
            lines.append(
                f"  {loss_domain(target):<28}{rise}: {word} ({entry['seeds_kept']} of {len(found['seeds'])} seeds)"
            )
    lines += ["", f"Report: {folder / 'report' / 'index.html'}"]
    return "\n".join(lines)


def status_command(arguments: Sequence[str]) -> None:
    """`proxymix status STUDY`."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        if arguments and arguments[0] in ("-h", "--help"):
            print(
                "usage: proxymix status STUDY\n\nSays for every stage whether it is done, stale (made from other settings or inputs) or missing."
            )
            return
        raise InputError("proxymix status: one study folder is wanted: proxymix status STUDY")
    study = Study(Path(arguments[0]))
    study.must_exist()
    config = {key: parameter.default for key, parameter in schema().items()} | study.config()
    for stage in STAGES:
        if study.needed(stage, config):
            state = study.state(stage, stage_call(study, stage, config))
            print(f"{stage.name:<11}{state:<9}{_detail(study, stage, config)}".rstrip())


def _detail(study: Study, stage: Stage, config: Mapping[str, Any]) -> str:
    if stage.name == "sweep":
        return f"{_num_trained(study, 'proxies')} of {len(list(study.path.glob('mixtures/n*.yaml')))} runs"
    if stage.name == "rounds":
        planned = further_rounds(config) * int(config["rounds.num_mixtures"])
        return f"{_num_trained(study, 'rounds/proxies')} of {planned} runs"
    if stage.name == "confirm":
        return f"{_num_trained(study, 'confirmation', '*')} runs"
    return ""


def _num_trained(study: Study, folder: str, names: str = "n*") -> int:
    return len(list(study.path.glob(f"{folder}/{names}/manifest.yaml")))
