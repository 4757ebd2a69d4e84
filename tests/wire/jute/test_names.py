"""Lists of names that are encoded once."""

from __future__ import annotations

from coordserver.wire.jute.replies import SharedNames


def test_the_same_tuple_is_encoded_once() -> None:
    shared = SharedNames(1_000)
    names = ("a", "bc")
    encoded = shared.encode(names)
    assert encoded == b"\0\0\0\2\0\0\0\1a\0\0\0\2bc"
    assert shared.encode(names) is encoded
    assert shared.encode((*names,)) == encoded


def test_what_is_kept_is_bounded_and_never_mistaken() -> None:
    shared = SharedNames(200)
    for number in range(1_000):
        names = tuple(f"{number}-{part}" for part in range(number % 40))
        expected = len(names).to_bytes(4, "big") + b"".join(
            len(name).to_bytes(4, "big") + name.encode() for name in names
        )
        assert shared.encode(names) == shared.encode(names) == expected
