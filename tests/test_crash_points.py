"""A command that dies before any change of a file, or meets an error there, is continued to the same bytes.

The changes of a command (a file opened for writing, fsync, rename, removal, new folder) are counted; then the command is
run once for each of them. By default a sample is tried, in under a minute. Before every change, and with the count:

    PROXYMIX_TEST_ALL_FAULTS=1 python -m pytest -s tests/test_crash_points.py
"""

import errno
import itertools
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from forked import DIED, Ended, Fault, Where, command, here
from tiny_study import contents, corpus_of, run_flags, states_of

from proxymix.app.config import Config
from proxymix.app.study import Study
from proxymix.files import remove

ALL = "PROXYMIX_TEST_ALL_FAULTS" in os.environ
ERRORS_IN_TURN = itertools.cycle([errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EROFS, errno.ESTALE])
WITHOUT_TRAINING = ("tokenize", "count", "baseline", "synthesize", "collect", "fit", "propose", "report")
STATES = {"done", "stale", "missing"}
KEPT = (".digests.json", ".proxymix_report", ".lock")
"""Hidden files that stay; a lock holds as long as its process lives."""
COUNTS: Counter[str] = Counter()
IN_TEMPORARY = re.compile(r"\.tmp/.")


class Attempts:
    """A command in one folder, again and again: disturbed, then repeated, and compared with what it does undisturbed.

    Args:
        folder: Where it works, as a command leaves it.
        reset: Makes of the folder what it was before the command.
        arguments: The command and its flags.
        below: Only changes below this folder count.
        where: Whether the changes of the command count, or those of its workers.
    """

    def __init__(
        self,
        folder: Path,
        reset: Callable[[], object],
        arguments: Sequence[object],
        below: Path | None = None,
        where: Where = "command",
    ) -> None:
        self.folder, self._reset, self._arguments = folder, reset, arguments
        self._below, self._where = below or folder, where
        reset()
        here(*arguments)  # What is kept of the hashes of files is there from now on.
        ended = self.begin(Fault(0, self._below, where=where))
        assert ended.status == 0, ended.text
        assert ended.changes
        self.changes, self.expected = ended.changes, contents(self.folder)

    def begin(self, fault: Fault | None = None, file_bytes: int | None = None) -> Ended:
        """The command from the beginning."""
        self._reset()
        return command(*self._arguments, fault=fault, file_bytes=file_bytes)

    def disturbed(self, at: int, error: int = 0, once: bool = False) -> Ended:
        """The command from the beginning, disturbed before the N-th change."""
        ended = self.begin(Fault(at, self._below, error, self._where, once))
        assert ended.met, f"{self.changes[at - 1]}: was not reached\n{ended.text}"
        COUNTS[f"{self._arguments[0]}{' in a worker' * (self._where == 'worker')}"] += 1
        return ended

    def check_same(self) -> None:
        """AssertionError: the same command does not end with the bytes of one that nothing disturbed, or leaves litter."""
        ended = here(*self._arguments)
        assert ended.status == 0, ended.text
        self.check_contents()
        hidden = [path.name for path in self.folder.rglob(".*") if path.name not in KEPT]
        assert not hidden, hidden

    def check_contents(self) -> None:
        """AssertionError: the folder holds other files, or other bytes in them, than after an undisturbed command."""
        found = contents(self.folder)
        assert [name for name in {**found, **self.expected} if found.get(name) != self.expected.get(name)] == []

    def check_status(self, stage: str) -> None:
        """AssertionError: `status` fails, or calls the stage done that is not."""
        states = states_of(self.folder)
        assert set(states.values()) <= STATES
        if states[stage] == "done":
            self.check_contents()


def sample(changes: Sequence[str], most: int) -> list[int]:
    """Positions of changes, from 1: as many as are wanted at equal distances, those of files that others see first."""
    positions = range(1, len(changes) + 1)
    if ALL:
        return list(positions)
    seen = [at for at in positions if not IN_TEMPORARY.search(changes[at - 1])]
    hidden = [at for at in positions if at not in seen]
    return sorted(spread(seen, most) + spread(hidden, max(most // 4, 1)))


def spread(positions: Sequence[int], most: int) -> list[int]:
    """At most so many of some positions at equal distances; the last among them."""
    count = min(len(positions), most)
    return [positions[(k + 1) * len(positions) // count - 1] for k in range(count)]


@pytest.fixture(scope="module", autouse=True)
def counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Says at the end how much was tried."""
    yield
    print(f"\n{COUNTS.total()} deaths and errors: {dict(COUNTS)}")


def forget(folder: Path, stage: str) -> None:
    """Remove from a study what a stage and those after it have left there."""
    study = Study(folder)
    stages = study.stages(Config(Config.defaults() | study.config()))
    for later in stages[[each.name for each in stages].index(stage) :]:
        for path in (*study.written(later), folder / "stages" / f"{later.name}.json"):
            remove(path)


@pytest.fixture
def study(trained_study, tmp_path) -> Path:
    """A copy of the finished study."""
    return shutil.copytree(trained_study, tmp_path / "study")


@pytest.fixture
def attempts(request, trained_study, study) -> tuple[str, Attempts]:
    """A stage of a study, done for the first time or once more."""
    stage, how = request.param.split(", ")
    tried = Attempts(study, lambda: how == "again" or forget(study, stage), [stage, "--study", study])
    assert tried.expected.items() <= contents(trained_study).items()
    return stage, tried


def of_stages(*how: str) -> pytest.MarkDecorator:
    """A test of every stage without training, begun so."""
    cases = [f"{stage}, {each}" for stage in WITHOUT_TRAINING for each in how]
    return pytest.mark.parametrize("attempts", cases, indirect=True)


@of_stages("first", "again")
def test_a_stage_that_dies_before_any_change_of_a_file_is_continued_to_the_same_bytes(attempts):
    stage, tried = attempts
    for at in sample(tried.changes, 3):
        assert tried.disturbed(at).status == DIED, tried.changes[at - 1]
        tried.check_status(stage)
        tried.check_same()


@of_stages(*["first"] * ALL, "again")
def test_a_stage_that_meets_an_error_of_the_disk_ends_with_a_sentence_and_is_continued(attempts):
    stage, tried = attempts
    for at, error in zip(sample(tried.changes, 2), ERRORS_IN_TURN, strict=False):
        ended = tried.disturbed(at, error)
        if ended.status == 0:  # It can do without.
            tried.check_contents()
        else:
            ended.check_sentence()
        tried.check_status(stage)
        tried.check_same()


@pytest.mark.parametrize("file_bytes", [0, 3_000])
@pytest.mark.parametrize("stage", WITHOUT_TRAINING)
def test_a_stage_whose_disk_is_full_ends_with_a_sentence_and_is_continued(trained_study, study, stage, file_bytes):
    """As the system has it: a write, a flush or a close fails, not the opening of a file."""
    forget(study, stage)
    ended = command(stage, "--study", study, file_bytes=file_bytes)
    if ended.status:
        ended.check_sentence()
    assert states_of(study)[stage] == ("missing" if ended.status else "done")
    assert ended.status or file_bytes
    ended = here(stage, "--study", study)
    assert ended.status == 0, ended.text
    assert contents(study).items() <= contents(trained_study).items()


# ---- Training: the command, its threads, and its workers ----


def train_flags(study: Path, out: Path) -> list[object]:
    """`proxymix train` of three runs with a study's settings, but without the study."""
    settings = Config.read(study / "study.yaml").section("train")
    flags = [word for key, value in settings.items() if value is not None for word in (f"--train.{key}", value)]
    places = ["--mixtures", study / "mixtures", "--tokens", study / "tokens", "--out", out]
    return ["train", *places, "--runs", "n00001", "n00002", "n00003", "--wandb", "disabled", *flags]


@pytest.fixture(scope="module")
def warm(trained_study, tmp_path_factory) -> None:
    """Training has loaded its libraries, so that workers need not. What does not train is tried before: a large process
    takes long to fork."""
    ended = here(*train_flags(trained_study, tmp_path_factory.mktemp("warm")))
    assert ended.status == 0, ended.text


def training(study: Path, stage: str, where: Where, below: str = "") -> Attempts:
    """A sweep or a confirmation from its beginning."""
    return Attempts(study, lambda: forget(study, stage), [stage, "--study", study], study / below, where)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("stage", ["sweep", "confirm"])
def test_training_that_dies_in_the_command_is_continued_to_the_same_bytes(trained_study, study, stage):
    tried = training(study, stage, "command")
    assert tried.expected.items() <= contents(trained_study).items()
    for at in sample(tried.changes, 3):
        assert tried.disturbed(at).status == DIED, tried.changes[at - 1]
        tried.check_status(stage)
        tried.check_same()


FOLDERS = {"sweep": "proxies/n00003", "confirm": "confirmation/proposal-s8"}


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("stage", FOLDERS)
def test_a_worker_that_dies_once_anywhere_in_a_run_is_replaced_and_the_command_ends_with_the_same_bytes(study, stage):
    tried = training(study, stage, "worker", FOLDERS[stage])
    for at in sample(tried.changes, 3):
        ended = tried.disturbed(at, once=True)
        assert ended.status == 0 and "trying once more" in ended.text, ended.text
        tried.check_contents()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("stage", FOLDERS)
def test_a_run_in_which_every_worker_dies_fails_the_stage_and_the_same_command_continues(study, stage):
    tried = training(study, stage, "worker", FOLDERS[stage])
    for at in sample(tried.changes, 2):
        ended = tried.disturbed(at)
        if ended.status:  # The second worker has nothing left to do where the first one died after its last write.
            ended.check_sentence()
        tried.check_status(stage)
        tried.check_same()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("stage", FOLDERS)
def test_a_worker_that_meets_an_error_of_the_disk_fails_the_stage_and_the_same_command_continues(study, stage):
    tried = training(study, stage, "worker", FOLDERS[stage])
    for at, error in zip(sample(tried.changes, 2), ERRORS_IN_TURN, strict=False):
        tried.disturbed(at, error).check_sentence()
        tried.check_status(stage)
        tried.check_same()


@pytest.mark.usefixtures("warm")
def test_train_without_a_study_that_dies_or_meets_an_error_anywhere_is_continued_to_the_same_bytes(study, tmp_path):
    out = tmp_path / "out"
    tried = Attempts(out, lambda: remove(out), train_flags(study, out))
    for at, error in zip(sample(tried.changes, 4), ERRORS_IN_TURN, strict=False):
        assert tried.disturbed(at).status == DIED, tried.changes[at - 1]
        tried.check_same()
        tried.disturbed(at, error).check_sentence()
        tried.check_same()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("file_bytes", [0, 100_000])
def test_training_whose_disk_is_full_ends_with_a_sentence_and_is_continued(study, tmp_path, file_bytes):
    flags = [*train_flags(study, tmp_path / "out"), "--save"]
    command(*flags, file_bytes=file_bytes).check_sentence()
    ended = here(*flags)
    assert ended.status == 0, ended.text
    assert (tmp_path / "out" / "n00003" / "checkpoint" / "lit_model.pth").stat().st_size > 100_000


@pytest.mark.usefixtures("warm")
def test_a_run_of_everything_that_dies_before_its_first_stage_is_continued_to_the_same_bytes(trained_study, tmp_path):
    study = tmp_path / "study"
    tried = Attempts(study, lambda: remove(study), run_flags(corpus_of(trained_study.parent), study))
    assert tried.expected == contents(trained_study)
    first = next(at for at, change in enumerate(tried.changes) if "tokens" in change)
    assert 3 < first < 20
    for at in sample(tried.changes[:first], 2):
        assert tried.disturbed(at).status == DIED, tried.changes[at - 1]
        if study.exists():
            assert set(states_of(study).values()) <= {"missing"}
        tried.check_same()
