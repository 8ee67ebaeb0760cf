"""Settings under an old name -> under their name of today, with a note on stderr."""

from collections.abc import Iterable, Mapping
from typing import Any

from proxymix.app.stages import RENAMED, RETIRED
from proxymix.errors import InputError
from proxymix.progress import say_once


def old_keys(sections: Iterable[str], own: str = "") -> dict[str, str]:
    """Old dotted key -> key of today; the settings of the section `own` stand without its name."""
    return {
        (old if section == own else f"{section}.{old}"): (new if section == own else f"{section}.{new}")
        for section in {*sections}
        for old, new in RENAMED.get(section, {}).items()
    }


def renamed(values: Mapping[str, Any], old: Mapping[str, str], source: str) -> dict[str, Any]:
    """`values` under the keys of today.

    Args:
        values: Key -> value.
        old: Old key -> key of today.
        source: The file that the values come from, for the note.

    Raises:
        InputError: If both the old and the new key of a setting are given.
    """
    for key in [key for key in values if key in RETIRED]:
        say_once(f"{source}: {key} is no setting any more; it is passed over")
        values = {name: value for name, value in values.items() if name != key}
    for key in values:
        if old.get(key) in values:
            raise InputError(f"{source}: {key} is the old name of {old[key]}, and both are given; remove {key}")
        if key in old:
            note(source, key, old[key])
    return {old.get(key, key): value for key, value in values.items()}


def renamed_record(settings: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The settings that the record of a stage holds, under their names of today, so that a rename makes no stage stale."""
    names = RENAMED.get(section, {})
    current = {names.get(key, key): value for key, value in settings.items()}
    return {
        key: {RENAMED[key].get(k, k): v for k, v in value.items()}
        if key in RENAMED and isinstance(value, dict)
        else value
        for key, value in current.items()
    }


def note(source: str, old: str, new: str) -> None:
    """Say once in a process that a setting has another name today."""
    say_once(f"{source}: {old} is called {new} today; the old name is still read")
