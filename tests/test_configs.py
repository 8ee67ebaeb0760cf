"""Every configuration that is shipped can be run."""

from pathlib import Path

import pytest

from proxy_training.runs.settings import TrainSettings
from proxymix.app.config import Config, study_settings
from proxymix.app.parser import Parser

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_configuration_holds_only_settings_there_are_with_values_they_take(path):
    parser = Parser("proxymix run", "")
    parser.add(study_settings())
    parser.fill(Config.read(path), str(path))
    TrainSettings(**Config(parser.parse([])).section("train"))  # raises where a rule of the proxies is broken


def test_the_configurations_that_the_readme_names_are_there():
    assert {path.stem for path in CONFIGS} == {"quickstart", "iterative", "regmix_1m", "your_corpus"}
