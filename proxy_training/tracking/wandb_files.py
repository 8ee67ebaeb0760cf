"""An offline wandb file (run-*.wandb) -> the run's name, configuration and history.

The container is LevelDB's log format: blocks of 32 KiB, after a header of 7 bytes that is part of the first; in them
chunks of (CRC-32, length, kind) + bytes, which join to records; each record is a protobuf message of wandb's own schema.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxymix.errors import InputError

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
        InputError: If it is not such a file, or is damaged. A file cut short by a kill is read up to the cut.
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
        if left < CHUNK_HEADER.size:  # too little for a chunk: zeros up to the next block
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
