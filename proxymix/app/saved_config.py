"""STUDY/study.yaml, the resolved configuration, and the sealed copy of it that tells damage from a wish."""

from pathlib import Path
from typing import Any

from proxy_training.runs.sealed import read_sealed, write_sealed
from proxymix.app.config import Config, is_execution, plain
from proxymix.errors import InputError
from proxymix.files import write_yaml
from proxymix.messages import some
from proxymix.progress import say


class SavedConfig:
    """What a study was made with.

    Args:
        study: The study folder.
    """

    def __init__(self, study: Path) -> None:
        self.path = study / "study.yaml"
        self.copy_path = study / "stages" / "study.yaml"

    @property
    def exists(self) -> bool:
        """Whether the folder is one of a study."""
        return self.path.exists() or self.copy_path.exists()

    def read(self) -> Config:
        """What study.yaml says. What it lacks, or where it cannot be read, counts as in its copy, with a note.

        Raises:
            InputError: If study.yaml cannot be read and there is no copy.
        """
        copy = self.copy()
        if copy is None:
            return Config.read(self.path) if self.path.exists() else Config({})
        try:
            found = Config.read(self.path)
        except InputError as error:
            say(f"{error}; the settings that the study was made with are taken from {self.copy_path}")
            return copy
        if lacking := [key for key in copy if key not in found]:
            say(
                f"{self.path}: lacks {some(lacking)}, which the study was made with; taken from {self.copy_path}. To change "
                "a setting, write its new value"
            )
        return Config({**copy, **found})

    def copy(self) -> Config | None:
        """What the sealed copy says; None where there is none that is whole."""
        try:
            read_sealed(self.copy_path, needs_hash=True)
            found = Config.read(self.copy_path)
        except InputError:
            return None
        found.pop("sha256", None)
        return found

    def write(self, config: Config) -> None:
        """Write study.yaml and its copy, unless both say so already; how the work is done does not count."""
        content = Config({key: value for key, value in config.items() if key != "study"}).sections()
        wanted = _deciding(Config.from_sections(content, str(self.path)))
        try:
            is_written = self.path.exists() and _deciding(Config.read(self.path)) == wanted
        except InputError:
            is_written = False
        if not is_written:
            write_yaml(self.path, content)
        copy = self.copy()
        if copy is None or _deciding(copy) != wanted:
            write_sealed(self.copy_path, content)

    def faults(self) -> list[tuple[Path, str]]:
        """What is wrong with the two files, in words."""
        copy, faults = self.copy(), list[tuple[Path, str]]()
        if copy is None and self.copy_path.exists():
            faults.append((self.copy_path, "damaged, or changed since it was written (its sha256 differs)"))
        try:
            found = Config.read(self.path)
        except InputError as error:
            return [*faults, (self.path, str(error).removeprefix(f"{self.path}: "))]
        if copy is None:
            return faults
        lacking = [key for key in copy if key not in found]
        other = [key for key in found if found[key] != copy.get(key)]
        said = [f"lacks {some(lacking)}"] * bool(lacking)
        said += [f"{key} is {found[key]!r:.60}, and the study was made with {copy.get(key)!r:.60}" for key in other[:3]]
        return [(self.path, "; ".join(said))] if said else []


def _deciding(config: Config) -> dict[str, Any]:
    """The settings that results depend on, as YAML holds them."""
    return {key: plain(value) for key, value in config.items() if not is_execution(key)}
