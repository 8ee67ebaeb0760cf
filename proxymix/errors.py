"""The two errors a command ends with, and what each means for the exit status."""


class InputError(ValueError):
    """What a user wrote is wrong: the message names file, key or line, the value, and the next step. Exit status 2."""


class StageError(RuntimeError):
    """A stage failed on good input (a diverged run, a dead worker, a full disk). Exit status 1, no traceback."""
