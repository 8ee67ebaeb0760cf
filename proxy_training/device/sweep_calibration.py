"""A sweep -> how fast its proxies really train on the device at hand, from ten seconds of training."""

import itertools
import statistics
import time
from dataclasses import dataclass, replace

from proxy_training.device.counting import VALIDATION, Counts, counted
from proxy_training.device.layout import Layout
from proxy_training.device.measuring import measured
from proxy_training.device.roofline import Device

NUM_MEASUREMENTS = 4
MAX_STEP_SECONDS = 0.25
"""A step whose floor is longer is measured on a smaller batch."""


@dataclass(frozen=True)
class Calibration:
    """What ten seconds of training measured."""

    seconds_per_token: float  # Of one proxy, on every worker at once.
    startup_seconds: float  # Until a process trains: imports, the model, the first steps.


def calibrated(counts: Counts, device: Device, layout: Layout, workers: int = 1) -> Calibration:
    """Train on random tokens for ten seconds, in as many processes at once as the sweep would have.

    A long step, such as RegMix's million tokens on a CPU, is measured with fewer sequences. The result is scaled by the
    ratio of the two floors.

    Raises:
        StageError: If a process fails.
    """
    settings, step = counts.settings, _training_seconds(counts, device)
    batch = max(1, min(settings.batch_size, int(settings.batch_size * MAX_STEP_SECONDS / step)))
    short = replace(settings, batch_size=batch)
    per_token = _training_seconds(counted(short, counts.vocabulary, kind=counts.kind), device) / short.tokens_per_step
    scale = step / settings.tokens_per_step / per_token
    layout = replace(layout, micro_batch=min(layout.micro_batch, batch))
    start = time.time()
    by_worker = measured(short, counts.vocabulary, [layout] * NUM_MEASUREMENTS, workers)
    costs = [statistics.median(speed.seconds_per_token for speed in speeds) for speeds in by_worker]
    startups = []
    for speeds in by_worker:
        # The first measurement holds the start of the process; the others are as long as a measurement alone.
        lengths = [after - before for before, after in itertools.pairwise([start, *(s.ended for s in speeds)])]
        startups.append(max(lengths[0] - statistics.median(lengths[1:]), 0.0))
    return Calibration(scale * statistics.mean(costs), max(startups))


def _training_seconds(counts: Counts, device: Device) -> float:
    """The floor of a step without validation."""
    return sum(part.seconds(device, counts.precision) for part in counts.parts if part.name != VALIDATION)
