"""What every worker of a sweep is told before its first run batch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from proxy_training.runs.settings import TrainSettings
from proxy_training.tracking.wandb_log import WandbMode


@dataclass(frozen=True)
class TrainingJob:
    """What the runs of a sweep have in common."""

    settings: TrainSettings
    tokens: Path  # The folder of token shards.
    out: Path  # Where the runs' folders go.
    wandb: WandbMode = "disabled"
    group: str = ""  # What wandb groups the runs by.
    save: bool = False  # Whether the final weights are kept, in the folder checkpoint/ of each run.

    def message(self) -> dict[str, Any]:
        """The job as plain values, which JSON can hold."""
        return {**asdict(self), "tokens": str(self.tokens), "out": str(self.out)}

    @classmethod
    def of(cls, message: dict[str, Any]) -> "TrainingJob":
        """The job of a message, which may hold more than the job."""
        values = {name: message[name] for name in cls.__dataclass_fields__}
        paths = {name: Path(message[name]) for name in ("tokens", "out")}
        return cls(**{**values, **paths, "settings": TrainSettings(**message["settings"])})
