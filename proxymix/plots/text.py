"""Names and numbers -> text that a reader understands and a figure has room for."""

from collections.abc import Iterable

from proxymix.plots.palette import PIXEL


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """CSS pixels that a line of text takes, at a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72 / PIXEL


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Text as lines of at most `width` CSS pixels (a longer word has a line of its own)."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def shorten(names: Iterable[str], max_letters: int) -> list[str]:
    """Names as labels: where one is too long, all lose the prefix that they share, and then their middle."""
    kept = [str(name) for name in names]
    if len(kept) > 1 and max(map(len, kept)) > max_letters:
        alike = next((i for i, letters in enumerate(zip(*kept, strict=False)) if len(set(letters)) > 1), 0)
        cut = max(kept[0].rfind(mark, 0, alike) for mark in "_-./") + 1
        kept = [name[cut:] for name in kept]
    end = max_letters // 3
    return [n if len(n) <= max_letters else f"{n[: max_letters - end - 1]}…{n[-end:]}" for n in kept]


def distinct_labels(names: Iterable[str], max_letters: int) -> list[str]:
    """Names as labels of at most `max_letters` letters, or of as many more as keep them different from each other."""
    whole = [str(name) for name in names]
    longest = max(map(len, whole), default=0)
    labels = (shorten(whole, letters) for letters in range(max_letters, max(longest, max_letters) + 1))
    return next((found for found in labels if len(set(found)) == len(set(whole))), whole)


def signed(value: float, digits: int = 3) -> str:
    """-0.0841 -> '−0.084', with a minus sign that is as wide as the plus."""
    return minus(f"{value:+.{digits}f}")


def minus(text: str) -> str:
    """A number's text with a minus sign instead of a hyphen."""
    return text.replace("-", "−")


def percent(weight: float) -> str:
    """A weight for a reader: 0.0823 -> '8.23%', 0.136 -> '13.6%'."""
    if weight < 5e-5:
        return "0%" if weight == 0 else "< 0.01%"
    return f"{100 * weight:.2f}%" if weight < 0.0995 else f"{100 * weight:.1f}%"


def percent_whole(share: float) -> str:
    """A share of many for a reader: '37%', '0.4%'; only what is nothing or all is called 0% or 100%."""
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f}%"
    if 99.5 <= value < 100:
        return "> 99%"
    return f"{value:.0f}%" if value >= 0.95 else f"{value:.1f}%" if value >= 0.05 else "< 0.1%"


def percent_tick(value: float) -> str:
    """A weight on an axis: '0', '0.01%', '10%'."""
    return "0" if value == 0 else f"{100 * value:.10g}%"


def epochs_text(epochs: float, max_digits: int = 2) -> str:
    """Epochs for a reader: 1.5 -> '1.50', 12.34 -> '12.3', and 0.0004 -> '< 0.01'.

    Args:
        epochs: At least 0.
        max_digits: Digits after the point for what is below 0.1.
    """
    if 0 < epochs < 0.5 * 10**-max_digits:
        return f"< {10**-max_digits:g}"
    digits = 0 if epochs == 0 else max_digits if epochs < 0.1 else 2 if epochs < 10 else 1
    return f"{epochs:,.{digits}f}"


def large_number(number: float, digits: int = 3) -> str:
    """1234567 -> '1.23 million'."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.{digits}g} {word}"
    return f"{number:,.0f}"


def counted(number: int, what: str) -> str:
    """3, 'mixture' -> '3 mixtures'."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
