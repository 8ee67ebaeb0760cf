"""A study folder -> what its stages found so far, as tables and objects; nothing in it is changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxymix.app.budget import with_budget
from proxymix.app.config import Config
from proxymix.app.results import FitResult, MixtureResult, ProposalResult
from proxymix.app.shown import bars, html_page, html_table
from proxymix.app.stages import stage_named
from proxymix.app.study import Study
from proxymix.errors import InputError
from proxymix.tables import read_table
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.statements import confirmation_lines

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class StudyResult:
    """A study. What a stage has not made yet is an InputError that names the file.

    Attributes:
        path: Its folder.
    """

    path: Path

    def __post_init__(self) -> None:
        Study(self.path).must_exist()

    @property
    def config(self) -> dict[str, Any]:
        """Every setting under its dotted key (`train.tokens`), those not given at their defaults.

        The budget is a number also where the study takes half of the corpus.
        """
        study = Study(self.path)
        return dict(with_budget(self.path, Config(Config.defaults() | study.config())))

    @property
    def status(self) -> "pd.DataFrame":
        """Whether each stage is done, stale or missing. The index is the stage."""
        import pandas as pd

        study = Study(self.path)
        states = study.states(Config(Config.defaults() | study.config()))
        rows = [state for state, _ in states.values()]
        return pd.DataFrame({"state": rows}, index=pd.Index([*states], name="stage"))

    @property
    def domains(self) -> "pd.DataFrame":
        """The domains and their tokens. The index is the domain."""
        return read_table(self.path / "domains.csv").set_index("domain")

    @property
    def mixtures(self) -> "pd.DataFrame":
        """The mixtures of all runs, further rounds among them. The index is the run's number."""
        return read_table(self._read_by_fit("mixtures")).set_index("index")

    @property
    def losses(self) -> "pd.DataFrame":
        """The losses of all runs, likewise."""
        return read_table(self._read_by_fit("losses")).set_index("index")

    @property
    def heuristic(self) -> MixtureResult:
        """The heuristic mixture."""
        return MixtureResult.read(self.path / "heuristic_mixture.yaml")

    @property
    def fit(self) -> FitResult:
        """The regression."""
        return FitResult.read(self.path / "regression")

    @property
    def proposal(self) -> ProposalResult:
        """The mixture that was found."""
        return ProposalResult.read(self.path / "optimal_mixture.yaml", self.path / "proposal")

    @property
    def confirmation(self) -> Confirmation:
        """What training at the proposal and at every baseline has shown: verdicts, differences, intervals."""
        return Confirmation.read(self.path / "confirmation.yaml")

    @property
    def report(self) -> Path:
        """The page for a colleague."""
        return self.path / "report" / "index.html"

    def __repr__(self) -> str:
        try:
            found = [*bars(self.proposal.weights), "", *confirmation_lines(self.confirmation)]
        except InputError as error:
            return f"Study {self.path} is not finished: {error}\n\n{self.status.to_string()}"
        return "\n".join([f"Study {self.path}: the best mixture", *found])

    def _repr_html_(self) -> str:
        try:
            table = self.proposal.table.sort_values("weight", ascending=False)
            verdict = f"{self.confirmation.verdict}."
        except InputError as error:
            return html_page(f"Study {self.path} is not finished", html_table(self.status), str(error))
        return html_page(f"Study {self.path}: the best mixture", html_table(table, bar_of="weight"), verdict)

    def _read_by_fit(self, name: str) -> Path:
        study = Study(self.path)
        return study.paths(stage_named("fit"), Config(Config.defaults() | study.config()))[name]
