"""An offline wandb file (run-*.wandb) -> the run's name, configuration, history and result.

The container has LevelDB's log format. A file is a header of 7 bytes and blocks of 32 KiB, the first of which counts the
header. Blocks hold chunks: (CRC-32, length, kind) and bytes. One or more chunks join to a record, which is a protobuf
message of wandb's own schema.
"""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy_training.runs.run_folder import FinishedRun
from proxymix.errors import InputError
from proxymix.schemas import loss_column

FILE_HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK_BYTES = 32 * 1024
CHUNK_HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class WandbRun:
    """What an offline file holds about its run.

    Attributes:
        name: The run's display name.
        config: The configuration it was started with.
        history: Logged rows, in order.
        exit_code: 0 when the run ended well, None when it never ended.
    """

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def read_wandb_file(path: Path) -> WandbRun:
    """The run in an offline file.

    Raises:
        InputError: If it is not such a file, or is damaged. A file that ends early, as after a kill, is read up to its end.
    """
    from wandb.proto import wandb_internal_pb2 as schema

    run = WandbRun()
    for data in records(path):
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
    return run


def finished_run(folder: Path) -> FinishedRun | None:
    """The mixture and the final losses of the run whose wandb files are in a folder; None if no run there ended well.

    Raises:
        InputError: If a file is damaged.
    """
    for path in sorted(folder.glob("*run-*/run-*.wandb")):
        run = read_wandb_file(path)
        last = run.history[-1] if run.history else {}
        if run.exit_code == 0 and last:
            weights, targets = run.config["mixture"], run.config["valid_domains"]
            return FinishedRun(
                {domain: weights[domain] for domain in run.config["train_domains"]},
                {domain: float(last.get(loss_column(domain), math.nan)) for domain in targets},
            )
    return None


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
