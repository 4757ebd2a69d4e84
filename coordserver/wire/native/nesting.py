"""Whether a msgpack value is as deep and as long as the protocol's are, told before anything is made of it.

The decoder makes each array as long as it announces before it has seen one element, up to a thousand arrays inside
each other: 3 KiB that only announce would cost 80 MiB. A long array must be announced with a byte of its own, so a
frame with few such bytes is harmless and is not looked at; in the others, mostly binary data by chance, the values are
skipped one by one.
"""

from __future__ import annotations

from coordserver.core.model.errors import WireError

DEPTH = 8
"""Arrays inside each other; a request needs five (multi, its operations, their ACLs)."""

HARMLESS_BYTES = 256
HARMLESS_ARRAYS = 16

ARRAY_16, ARRAY_32 = 0xDC, 0xDD


def _sizes() -> list[tuple[int, int]]:
    """By first byte: how many bytes tell a length, and how many bytes follow besides. (0, -1): not known here."""
    sizes = [(0, -1)] * 256
    for byte in (*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100)):
        sizes[byte] = 0, 0
    for byte in range(0xA0, 0xC0):
        sizes[byte] = 0, byte & 0x1F
    for first in (0xC4, 0xD9):
        for power, byte in enumerate(range(first, first + 3)):
            sizes[byte] = 1 << power, 0
    for first, widths in ((0xCA, (4, 8)), (0xCC, (1, 2, 4, 8)), (0xD0, (1, 2, 4, 8))):
        for byte, width in enumerate(widths, first):
            sizes[byte] = 0, width
    return sizes


_SIZES = _sizes()


def check(data: bytes, max_elements: int) -> None:
    """Raise WireError for a value that is too deep, announces more than it holds, or has more than `max_elements`."""
    if len(data) <= HARMLESS_BYTES or data.count(ARRAY_16) + data.count(ARRAY_32) <= HARMLESS_ARRAYS:
        return
    at, size = 0, len(data)
    left = [1]
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        if at >= size:
            raise WireError("a msgpack value that is cut short")
        byte = data[at]
        at += 1
        if 0x90 <= byte <= 0x9F:
            count = byte & 0x0F
        elif byte in (ARRAY_16, ARRAY_32):
            width = 2 if byte == ARRAY_16 else 4
            count = int.from_bytes(data[at : at + width], "big")
            at += width
        else:
            at = _behind(data, at, byte)
            continue
        max_elements -= count
        if count > size - at or max_elements < 0 or len(left) > DEPTH:
            raise WireError(f"an array of {count} elements, {len(left)} deep")
        left.append(count)


def _behind(data: bytes, at: int, byte: int) -> int:
    width, more = _SIZES[byte]
    if more < 0:
        raise WireError(f"msgpack type 0x{byte:02x}")
    return at + width + more + (int.from_bytes(data[at : at + width], "big") if width else 0)
