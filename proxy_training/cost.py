"""How proxies are trained, and on what -> FLOP, bytes, parameters, memory, time and money of a sweep.

python proxy_training/cost.py --train.model 1m --vocabulary 50432 --num_runs 512 --device h200
"""

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixture_config.files.mixture_table import mixture_files
from proxy_training.device.calibration import chosen_layout, predicted_seconds
from proxy_training.device.counting import NUM_DOMAINS, Counts, Part, counted, floor_seconds
from proxy_training.device.layout import usual_models_per_process
from proxy_training.device.roofline import Device, device_named, gpu_name, is_at_hand
from proxy_training.device.sweep_calibration import calibrated
from proxy_training.launch.local import LocalLauncher
from proxy_training.runs.settings import TrainSettings
from proxymix.errors import InputError
from proxymix.messages import study_of
from proxymix.progress import duration, say
from proxymix.schemas import read_tokens_manifest
from proxymix.tables import write_table


def cost(
    train: TrainSettings = TrainSettings(),  # noqa: B008
    vocabulary: int | None = None,
    num_runs: int | None = None,
    num_domains: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    price: float | None = None,
    calibrate: bool = False,
    tokens: Path | None = None,
    mixtures: Path | None = None,
    out: Path | None = None,
) -> None:
    """Say what a sweep costs on a device: FLOP, bytes, parameters, memory, time and money.

    The floor is counted and holds for any device: each part of a step takes its FLOP at the device's peak rate, or its
    bytes at the peak bandwidth, whichever takes longer. --calibrate trains for ten seconds on the device at hand and says
    how long the sweep will really take there.

    Args:
        train: How a proxy is trained.
        vocabulary: Ids of the tokenizer; by default those of --tokens.
        num_runs: Proxies in the sweep; by default what the study plans, else as many as --mixtures holds, else 1.
        num_domains: Validation domains; by default those of --tokens, else 10.
        device: auto is this machine (its GPU if it has one, else a core) and cpu a core of it, both measured in seconds;
            b200, h200, h100, a100, a100_40gb, l40s, l4, a6000, rtx4090 and rtx3090 are their makers' peak figures.
        workers: Devices at work at a time, GPUs or cores. The default is what a sweep would use on this machine, and 1
            for a device that is not here.
        price: Money for one device and hour.
        calibrate: Also train for ten seconds on the device, which must be the one at hand.
        tokens: Folder of token shards, for the vocabulary and the number of domains.
        mixtures: Folder of mixture YAMLs, for the number of runs.
        out: A CSV for the table of parts.

    Raises:
        InputError: If the device is unknown, or --calibrate is given for a device that is not at hand, or nothing says
            the vocabulary.
        StageError: If the calibration fails.
    """
    vocabulary, num_runs, num_domains = _from_files(vocabulary, num_runs, num_domains, tokens, mixtures)
    _check(num_runs, workers, price, calibrate, device)
    where = device_named(device, train.precision)
    if workers is None:
        here = is_at_hand(device) or where.kind == "cpu"
        workers = LocalLauncher().num_workers(train, vocabulary) if here else 1
    counts, share = counted(train, vocabulary, num_domains, where.kind), math.ceil(num_runs / workers)
    together = min(usual_models_per_process(train, vocabulary, where.kind, int(where.memory)), share)
    seconds, measured = share * floor_seconds(counts, where), ""
    if calibrate:
        layout = chosen_layout(train, vocabulary, num_runs, workers)
        together, found = layout.models_per_process, calibrated(counts, where, layout, workers)
        training = predicted_seconds(found.seconds_per_token, train, layout, num_domains, share)
        floor, seconds = seconds, found.startup_seconds + training
        measured = f"{seconds / floor:.1f} times the floor; {1 / found.seconds_per_token:,.0f} tokens/s on each"
    print("\n".join([*_table(counts, where), "", *_totals(counts, where, num_runs, num_domains, together, workers)]))
    if measured:
        print(f"{'calibrated':<14}{_duration(seconds)}, {measured}")
    if price is not None:
        hours, least = workers * seconds / 3600, "" if calibrate else "at least "
        print(f"{'money':<14}{least}{price * hours:,.2f} ({hours:,.2f} device hours at {price:g})")
    if not calibrate and is_at_hand(device):
        say("The floor leaves out what happens between kernels; --calibrate measures it, in ten seconds of training.")
    if out is not None:
        _write(out, counts, where)
        say(f"{out}: the table of parts")
    if tokens is not None and (study := study_of(Path(tokens))) is not None:
        say(f"Next: proxymix sweep --study {shlex.quote(str(study))}")


def _from_files(
    vocabulary: int | None, num_runs: int | None, num_domains: int | None, tokens: Path | None, mixtures: Path | None
) -> tuple[int, int, int]:
    """The vocabulary, the runs and the domains: as given, else from the files that are there."""
    if vocabulary is None and tokens is None:
        raise InputError(
            "cost: nothing says the vocabulary; give --vocabulary, or --tokens or --study with token shards"
        )
    if tokens is not None and (vocabulary is None or (Path(tokens) / "manifest.json").exists()):
        manifest = read_tokens_manifest(tokens)
        vocabulary = int(manifest.tokenizer["vocabulary"]) if vocabulary is None else vocabulary
        num_domains = len(manifest.domains("valid")) if num_domains is None else num_domains
    if num_runs is None and mixtures is not None:
        num_runs = len(mixture_files(Path(mixtures)))
    assert vocabulary is not None
    return vocabulary, 1 if num_runs is None else num_runs, NUM_DOMAINS if num_domains is None else num_domains


def _check(num_runs: int, workers: int | None, price: float | None, calibrate: bool, device: str) -> None:
    """Raise InputError for a value that cannot be, before anything is measured."""
    for name, value in {"num_runs": num_runs, "workers": workers}.items():
        if value is not None and value < 1:
            raise InputError(f"cost: --{name} is {value}; a whole number of at least 1 is wanted")
    if price is not None and not 0 <= price < math.inf:
        raise InputError(f"cost: --price is {price}; money for a device and hour is wanted, 0 or more")
    if calibrate and not is_at_hand(device):
        raise InputError(
            f"cost: --calibrate trains on the device at hand, which is {gpu_name() or 'a CPU'} and not {device}; "
            "leave it out, or run the same command where there is one"
        )


def _table(counts: Counts, device: Device) -> list[str]:
    """What is trained on what, then a row for each part of a step."""
    settings, shape = counts.settings, counts.settings.shape
    rates = " and ".join(f"{_rate(device.flops[p])} in {p}" for p in dict.fromkeys((counts.precision, "fp32")))
    lines = [
        f"{settings.model}: {shape.layers} layers, width {shape.width:,}, {shape.heads} heads, MLP {shape.mlp:,}; "
        f"vocabulary {counts.vocabulary:,}; {settings.batch_size} x {settings.sequence_length:,} tokens a step; "
        f"{counts.precision}",
        f"{device.name}: {rates}, {device.bandwidth / 1e9:,.4g} GB/s, {device.memory / 1e9:.4g} GB",
        "",
        f"{'per training token':<24}{'MFLOP':>11}{'kB':>11}  {'bound by':<8}{'time':>8}",
    ]
    for title, parts, summed in (("the model", counts.model, counts.model), ("all", counts.other, counts.parts)):
        lines += [_row(part.name, (part,), counts, device, _bound(part, device, counts)) for part in parts]
        lines.append(_row(title, summed, counts, device, ""))
    return lines


def _totals(counts: Counts, device: Device, num_runs: int, num_domains: int, together: int, workers: int) -> list[str]:
    """Parameters, memory, FLOP and the floor of a sweep, in which `together` proxies share a process."""
    activations = counts.activation_bytes(together)
    memory = counts.state_bytes + activations
    held = (
        f"{_bytes(memory)} a proxy ({_bytes(counts.state_bytes)} weights, gradients and moments; "
        f"{_bytes(activations)} activations)"
    )
    if together > 1:
        held += f", {_bytes(together * memory)} for {together}"
    if together * memory * (workers if device.kind == "cpu" else 1) > device.memory:  # Cores share their memory.
        held += f", which does NOT fit into {_bytes(device.memory)}"
    runs = f"{num_runs:,} run{'s' if num_runs > 1 else ''}"
    one = floor_seconds(counts, device)
    all_ = math.ceil(num_runs / workers) * one
    scoring = _share(counts.other[-1:], counts, device)
    lines = {
        "parameters": f"{counts.num_parameters:,} without embedding and head, {counts.total_parameters:,} with them",
        "memory": held,
        "FLOP": f"{counts.run_flop:.3g} a run of {counts.run_tokens:,} tokens, {num_runs * counts.run_flop:.3g} for "
        f"{runs}; {counts.head_share:.0%} in the head",
        "floor": f"{_duration(all_)} for {runs} on {workers} x {device.name}; {_duration(one)} each, {scoring:.1%} "
        f"of it to score {num_domains} domains",
    }
    return [f"{name:<14}{text}" for name, text in lines.items()]


def _row(title: str, parts: Sequence[Part], counts: Counts, device: Device, bound: str) -> str:
    tokens = counts.settings.tokens_per_step
    flop, size = (sum(getattr(part, what) for part in parts) / tokens for what in ("flop", "bytes"))
    return f"{title:<24}{flop / 1e6:>11,.3f}{size / 1e3:>11,.1f}  {bound:<8}{_share(parts, counts, device):>8.1%}"


def _bound(part: Part, device: Device, counts: Counts) -> str:
    by_flop, by_bytes = part.bounds(device, counts.precision)
    return "FLOP" if by_flop > by_bytes else "memory"


def _share(parts: Sequence[Part], counts: Counts, device: Device) -> float:
    """The share of the floor that some parts take."""
    seconds = [sum(p.seconds(device, counts.precision) for p in some) for some in (parts, counts.parts)]
    return seconds[0] / seconds[1]


def _rate(flops: float) -> str:
    return f"{flops / 1e12:,.4g} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:,.4g} GFLOP/s"


def _bytes(size: float) -> str:
    return f"{size / 1e9:,.3g} GB" if size >= 1e9 else f"{size / 1e6:,.3g} MB"


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _write(out: Path, counts: Counts, device: Device) -> None:
    """Write the table of parts as a CSV."""
    tokens = counts.settings.tokens_per_step
    rows: list[list[Any]] = [
        [
            part.name,
            part.flop / tokens,
            part.bytes / tokens,
            _bound(part, device, counts),
            part.seconds(device, counts.precision) / tokens,
            _share((part,), counts, device),
        ]
        for part in counts.parts
    ]
    header = ("part", "flop_per_token", "bytes_per_token", "bound_by", "floor_seconds_per_token", "share_of_floor")
    write_table(out, header, rows)


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(cost)
