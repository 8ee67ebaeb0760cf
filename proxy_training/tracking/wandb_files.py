"""An offline wandb file (run-*.wandb) -> the run's name, configuration, history and result.

The container has LevelDB's log format. A file is a header of 7 bytes and blocks of 32 KiB, the first of which counts the
header. Blocks hold chunks: (CRC-32, length, kind) and bytes. One or more chunks join to a record, which is a protobuf
message of wandb's own schema.
"""

import json
import math
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_training.runs.run_folder import FinishedRun
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.schemas import loss_column

FILE_HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK_BYTES = 32 * 1024
CHUNK_HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class WandbRun:
    """What an offline file holds about its run."""

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)  # Logged rows, in order.
    exit_code: int | None = None  # 0 when the run ended well, None when it never ended.


def read_wandb_file(path: Path) -> WandbRun:
    """The run in an offline file.

    Raises:
        InputError: If it is not such a file, or is damaged. A file that ends early, as after a kill, is read up to its end.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto import wandb_internal_pb2 as schema

    run = WandbRun()
    for number, data in enumerate(records(path), start=1):
        try:
            record = schema.Record.FromString(data)  # type: ignore[attr-defined]
            kind = record.WhichOneof("record_type")
            if kind == "run":
                run.name = record.run.display_name
                run.config |= _items(record.run.config.update)
            elif kind == "config":
                run.config |= _items(record.config.update)
            elif kind == "history":
                run.history.append(_items(record.history.item))
            elif kind == "exit":
                run.exit_code = record.exit.exit_code
        except (DecodeError, ValueError, RecursionError) as error:  # ValueError: a value that is no JSON.
            raise InputError(f"{path}: record {number} cannot be read ({error}); use --source folders") from None
    return run


def finished_run(folder: Path) -> FinishedRun | None:
    """The mixture and the final losses of the run whose wandb files are in a folder; None if no run there ended well.

    Raises:
        InputError: If a file is damaged, or its run was not trained by proxymix.
    """
    for path in sorted(folder.glob("*run-*/run-*.wandb")):
        run = read_wandb_file(path)
        last = run.history[-1] if run.history else {}
        if run.exit_code == 0 and last:
            return _finished(run.config, last, path)
    return None


def _finished(config: dict[str, Any], last: dict[str, Any], path: Path) -> FinishedRun:
    """The mixture of a run's configuration, and the losses of its last row."""
    weights, domains, targets = config.get("mixture"), _names(config, "train_domains"), _names(config, "valid_domains")
    if not (isinstance(weights, dict) and domains and targets and set(domains) <= set(weights)):
        raise InputError(
            f"{path}: this run was not trained by proxymix: its configuration needs mixture, train_domains and "
            f"valid_domains, and holds {some(config) or 'nothing'}. Losses of another trainer: export its runs from wandb "
            "as a CSV, and call `proxymix fit --mixtures mixtures.csv --losses losses.csv`"
        )
    found = {
        **{d: weights[d] for d in domains},
        **{loss_column(d): last.get(loss_column(d), math.nan) for d in targets},
    }
    for name, value in found.items():
        if isinstance(value, str) and value in ("NaN", "Infinity", "-Infinity"):  # As wandb writes these.
            found[name] = math.nan
        elif isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > sys.float_info.max:
            raise InputError(f"{path}: {name} is {value!r:.60}, and a number is wanted; use --source folders")
    return FinishedRun({d: found[d] for d in domains}, {d: float(found[loss_column(d)]) for d in targets})


def _names(config: dict[str, Any], key: str) -> list[str]:
    """The names that a configuration lists; none if it holds something else."""
    found = config.get(key)
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else []


def records(path: Path) -> Iterator[bytes]:
    """The records of a log file, each checked against its checksums.

    Raises:
        InputError: If it is not a wandb file, or a checksum or the order of chunks is wrong.
    """
    content = Path(path).read_bytes()
    if content[: len(FILE_HEADER) - 1] != FILE_HEADER[:-1]:
        raise InputError(f"{path}: not a wandb file (it begins with {content[:7]!r})")
    position, parts = len(FILE_HEADER), list[bytes]()
    while position + CHUNK_HEADER.size <= len(content):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < CHUNK_HEADER.size:  # No chunk begins this near to the end of a block; zeros fill it.
            position += left
            continue
        checksum, length, kind = CHUNK_HEADER.unpack_from(content, position)
        data = content[position + CHUNK_HEADER.size : position + CHUNK_HEADER.size + length]
        if len(data) < length:
            return
        if kind not in (FULL, FIRST, MIDDLE, LAST) or zlib.crc32(bytes([kind]) + data) != checksum:
            raise InputError(f"{path}: damaged at byte {position:,} (checksum); use --source folders")
        if (kind in (FULL, FIRST)) == bool(parts):
            raise InputError(
                f"{path}: damaged at byte {position:,} (a record without its beginning); use --source folders"
            )
        parts.append(data)
        if kind in (FULL, LAST):
            yield b"".join(parts)
            parts = []
        position += CHUNK_HEADER.size + length


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
