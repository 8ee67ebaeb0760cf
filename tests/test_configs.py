"""Every configuration that is shipped can be run."""

from pathlib import Path

import pytest

from proxymix.app.cli import Parser
from proxymix.app.stages import parameters, stage_named
from proxymix.app.study import flatten, schema, stage_settings
from proxymix.files import read_yaml

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_configuration_holds_only_settings_there_are_with_values_they_take(path):
    known = schema()
    parser = Parser("proxymix run", "")
    for key, parameter in known.items():
        parser.add({parameter.name: parameter}, section=key.rpartition(".")[0])
    config = flatten(read_yaml(path), known, str(path))
    parser.fill(config, str(path))
    sweep = parameters(stage_named("sweep").load())
    train = {k.partition(".")[2]: v for k, v in stage_settings(stage_named("sweep"), sweep, config).items() if "." in k}
    sweep["train"].type(**train)  # raises where a rule of the proxies is broken


def test_the_configurations_that_the_readme_names_are_there():
    assert {path.stem for path in CONFIGS} == {"quickstart", "iterative", "regmix_1m", "your_corpus"}
