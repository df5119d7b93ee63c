"""Sizes in bytes, as text and as numbers."""

from __future__ import annotations

import re

from fastcnn._loader import _core

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGTP", start=1):
    _UNITS[f"{_letter}B"] = 1000**_power
    _UNITS[f"{_letter}IB"] = 1024**_power


def parse_bytes(size: int | str) -> int:
    """A size in bytes.

    Args:
        size: a number of bytes, or text: ``"12GB"`` is 12e9, ``"12GiB"`` 12 * 2**30, ``"1.5 MiB"``, ``"4096"``;
            units up to PB in any case; or a card's name, such as ``"h200"`` or ``"rtx3060"``, for its real total.

    Raises:
        ValueError: the text is none of these, or the size is negative or not a whole number of bytes.
        TypeError: neither an int nor a str.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(
            f"parse_bytes: size has the wrong type, got {size!r}, expected an int or a str like '12GB'"
        )
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"parse_bytes: size is negative, got {size}, expected 0 or more bytes")
        return size
    text = size.strip()
    cards = _core.known_cards()
    if text.lower() in cards:
        return cards[text.lower()]
    match = re.fullmatch(r"(\d+)(?:\.(\d+))?\s*([A-Za-z]*)", text, re.ASCII)
    unit = _UNITS.get(match[3].upper()) if match else None
    if match is None or unit is None:
        raise ValueError(
            f"parse_bytes: not a size, got {size!r}, expected bytes, a number with one of B, KB, MB, GB, TB, PB, "
            f"KiB, MiB, GiB, TiB, PiB, or a card ({', '.join(cards)}); for example '12GB'"
        )
    fraction = match[2] or ""
    bytes_, rest = divmod(int(match[1] + fraction) * unit, 10 ** len(fraction))  # exact: no float
    if rest and unit == 1:
        raise ValueError(
            f"parse_bytes: part of a byte, got {size!r}, expected a whole number; leave the fraction out"
        )
    return bytes_


def format_bytes(count: int) -> str:
    """A short text: 512 B, 1.50 KiB, 12.0 MiB."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            break
        size /= 1024
    if unit == "B":
        return f"{count} B"
    return f"{size:.{2 if abs(size) < 10 else 1 if abs(size) < 100 else 0}f} {unit}"
