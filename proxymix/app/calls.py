"""A stage called from Python: tables and mixtures in memory become its files, in a folder that is gone afterwards."""

import contextlib
import inspect
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from mixture_config.files.mixture import Mixture
from proxymix.app.config import Config
from proxymix.app.old_names import old_keys
from proxymix.app.parameters import build_arguments, parameters
from proxymix.app.parser import Parser
from proxymix.app.results import FitResult, MixtureResult, SweepResult
from proxymix.app.stages import Stage, stage_named
from proxymix.errors import InputError, StageError
from proxymix.progress import listening, message_stream
from proxymix.tables import KEY_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

PathLike: TypeAlias = str | os.PathLike[str]
TableLike: TypeAlias = "PathLike | pd.DataFrame"
DomainsLike: TypeAlias = "TableLike | Mapping[str, float]"
MixtureLike: TypeAlias = "PathLike | Mapping[str, float] | pd.Series[float] | MixtureResult"
F = TypeVar("F", bound=Callable[..., Any])

NOT_OFFERED = {"propose": ("details", "next_out"), "baseline": ("summary", "path", "json")}
"""Parameters of stages that only say where a terminal's user finds things."""


class StageCall:
    """One call of a stage.

    Messages and errors name what came without a file by its parameter, and say nothing of the temporary folder.

    Args:
        stage: The stage.
        scratch: The temporary folder.
    """

    def __init__(self, stage: Stage, scratch: Path) -> None:
        self.stage, self.scratch = stage, scratch
        self.source = f"proxymix.{stage.name}"
        self._given: dict[str, str] = {}  # path of what was written here -> its parameter
        self._stream = message_stream()
        self._in_memory = True

    def table(self, name: str, value: Any) -> Path | None:
        """The file of a table: a path as it is, a DataFrame written.

        A DataFrame without a column that names its rows is keyed by its own index.

        Raises:
            InputError: If it is neither.
        """
        value = value.table if isinstance(value, SweepResult) else value
        if value is None or isinstance(value, str | os.PathLike):
            return _path(value)
        if not _is_frame(value):
            raise self._misfit(name, value, "a path or a pandas DataFrame")
        if not {str(column).lower() for column in value.columns} & {*KEY_COLUMNS}:
            value = value.rename_axis("index").reset_index()
        return self._written(name, value)

    def domains(self, name: str, value: Any) -> Path | None:
        """The file of a table of domains: a path as it is, a DataFrame or a mapping domain -> tokens written.

        Raises:
            InputError: If it is none of these.
        """
        import pandas as pd

        if value is None or isinstance(value, str | os.PathLike):
            return _path(value)
        if not hasattr(value, "items"):
            raise self._misfit(name, value, "a path, a DataFrame (domain, tokens) or {domain: tokens}")
        if not _is_frame(value):
            value = pd.DataFrame(list(value.items()), columns=["domain", "tokens"])
        elif "domain" not in value.columns:
            value = value.rename_axis("domain").reset_index()
        return self._written(name, value)

    def mixture(self, name: str, value: Any) -> Path | None:
        """The file of a mixture: a path as it is, the result of a call or a mapping domain -> weight written.

        Raises:
            InputError: If it is none of these, or the weights do not sum to 1.
        """
        if value is None or isinstance(value, str | os.PathLike):
            return _path(value)
        path = self._place("mixture.yaml" if name == "mixtures" else f"{name}.yaml", name)  # predicted under its name
        if isinstance(value, MixtureResult):
            value.save(path)
        elif hasattr(value, "items") and not _is_frame(value):
            Mixture.normalised(_plain(dict(value.items())), f"{self.source}: {name}").write(path)
        else:
            raise self._misfit(name, value, "a path, {domain: weight} or what propose or baseline returned")
        return path

    def mixtures(self, name: str, value: Any) -> Path | None:
        """The file of one mixture or many: as `table`, or as `mixture`."""
        alone = isinstance(value, MixtureResult) or (hasattr(value, "items") and not _is_frame(value))
        return self.mixture(name, value) if alone else self.table(name, value)

    def fit(self, name: str, value: Any) -> Path:
        """The folder of a fit: a path as it is, the result of a call written.

        Raises:
            InputError: If it is neither.
        """
        if isinstance(value, str | os.PathLike):
            return Path(value)
        if not isinstance(value, FitResult):
            raise self._misfit(name, value, "a folder or what proxymix.fit returned")
        return value.save(self._place(name, name))

    def out(self, out: PathLike | None, name: str) -> Path:
        """Where the stage writes: to `out`, or if nothing is to be kept to the temporary folder."""
        self._in_memory = out is None
        return self.scratch / name if out is None else Path(out).expanduser()

    def run(self, files: Mapping[str, Path | None], settings: Mapping[str, Any]) -> None:
        """Call the stage. Settings are checked as the command line checks them.

        Args:
            files: Parameter -> path.
            settings: Parameter -> value.

        Raises:
            InputError: If there is no such setting, or it has a value of another type, and for what the stage refuses.
        """
        function, section = self.stage.load(), self.stage.settings_section
        parser = Parser(self.source, function.__doc__ or "", old_keys({section}, section))
        parser.add(_offered(self.stage))
        given = {name: str(path) for name, path in files.items() if path is not None}
        parser.fill(_plain(settings) | given, self.source)
        arguments = build_arguments(function, parser.parse([]))
        with listening(self.hear), contextlib.redirect_stdout(io.StringIO()):
            function(**arguments)

    def named(self, text: str) -> str:
        """A text in which what is in the temporary folder goes by the name of its parameter."""
        for path, name in sorted(self._given.items(), reverse=True):  # longer paths come before their beginnings
            text = text.replace(path, name)
        return text

    def hear(self, message: str) -> None:
        """Pass a message on, unless it is about a file that is gone afterwards, or what to do with it next."""
        said = self.named(message)
        is_next_step = message.startswith("Next") or message.lstrip().startswith("proxymix ")
        if str(self.scratch) not in said and not (is_next_step and self._in_memory):
            print(said, file=self._stream, flush=True)

    def _place(self, file: str, name: str) -> Path:
        path = self.scratch / "given" / file
        path.parent.mkdir(exist_ok=True)
        self._given[str(path)] = name
        return path

    def _written(self, name: str, frame: Any) -> Path:
        path = self._place(f"{name}.csv", name)
        frame.to_csv(path, index=False)
        return path

    def _misfit(self, name: str, value: object, wanted: str) -> InputError:
        return InputError(f"{self.source}: {name} is {value!r:.60} ({type(value).__name__}); {wanted} is wanted")


@contextlib.contextmanager
def stage_call(name: str) -> Iterator[StageCall]:
    """A call of the stage with this command name."""
    with tempfile.TemporaryDirectory(prefix="proxymix-", ignore_cleanup_errors=True) as folder:
        call = StageCall(stage_named(name), Path(folder).resolve())
        try:
            yield call
        except (InputError, StageError) as error:
            text = call.named(str(error)).replace(f"{call.scratch}{os.sep}", "")
            raise type(error)(text) from error.__cause__


def with_settings_of(name: str) -> Callable[[F], F]:
    """A decorator: `**settings` becomes the settings of a stage in the function's signature and docstring."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        more = {key: p for key, p in _offered(stage_named(name)).items() if key not in signature.parameters}
        keywords = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=p.default, annotation=p.type)
            for key, p in more.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *keywords])  # type: ignore[attr-defined]
        lines = "".join(f"        {key}: {' '.join(p.help.split())}\n" for key, p in more.items())
        function.__doc__ = (function.__doc__ or "").replace("        settings: SETTINGS\n", lines)
        return function

    return decorate


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings of a study, sections as mappings -> flags of `proxymix run`."""
    words: list[str] = []
    for key, value in Config.from_sections(_plain(settings), "proxymix.run").items():
        words += [f"--{key}", *map(_word, value)] if isinstance(value, list) else [f"--{key}={_word(value)}"]
    return words


def _word(value: Any) -> str:
    """A value as a flag's word: null, true, a mapping as YAML."""
    return json.dumps(value) if value is None or isinstance(value, bool | Mapping) else str(value)


def _offered(stage: Stage) -> dict[str, Any]:
    """The settings of a stage that a caller from Python has a use for."""
    wanted = parameters(stage.load())
    return {key: value for key, value in wanted.items() if key not in NOT_OFFERED.get(stage.name, ())}


def _path(value: PathLike | None) -> Path | None:
    return None if value is None else Path(value)


def _is_frame(value: object) -> bool:
    return hasattr(value, "columns") and hasattr(value, "to_csv")


def _plain(value: Any) -> Any:
    """A setting without the types of numpy, pandas and pathlib."""
    for method in ("to_dict", "tolist"):
        if hasattr(value, method):
            value = getattr(value, method)()
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
