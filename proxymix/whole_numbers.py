"""A whole number as people write it -> int: 25B, 600M, 1.5e9, 1_000_000."""

import re
from decimal import Decimal

UNITS = {"": 0, "k": 3, "m": 6, "b": 9, "g": 9, "t": 12}
"""Letter -> the power of ten that it stands for."""
NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*)?(?:\.\d[\d_]*)?(?:e[+-]?\d{1,3})?)\s*([kmbgt]?)\s*", re.IGNORECASE)


def whole_number(text: str) -> int:
    """The whole number that a text is.

    Raises:
        ValueError: If it is none.
    """
    match = NUMBER.fullmatch(text)
    if match is None or not any(character.isdigit() for character in match[1]):
        raise ValueError(f"{text!r:.60} is no whole number")
    value = Decimal(match[1].replace("_", "")).scaleb(UNITS[match[2].lower()])
    if value != value.to_integral_value():
        raise ValueError(f"{text!r:.60} is no whole number")
    return int(value)
