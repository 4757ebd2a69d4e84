"""Frames: any cutting of the stream gives the same frames; oversized ones are told once and skipped."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.wire.native.framing import FrameBuffer, Oversized, frame


def drain(buffer: FrameBuffer) -> list[bytes | Oversized]:
    out: list[bytes | Oversized] = []
    while (item := buffer.next()) is not None:
        out.append(item)
    return out


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_any_cut_of_the_stream_gives_the_same_frames(bodies: list[bytes], cuts: list[int]) -> None:
    limit = 40
    stream = b"".join(frame(body) for body in bodies)
    want = [body if len(body) <= limit else Oversized(len(body), body[:16]) for body in bodies]
    buffer, got = FrameBuffer(limit), []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        buffer.feed(stream[at : at + size])
        got += drain(buffer)
        at, turn = at + size, turn + 1
    assert got == want
    assert len(buffer) == 0


def test_an_oversized_frame_is_not_held() -> None:
    buffer = FrameBuffer(100)
    buffer.feed((1_000_000).to_bytes(4, "big") + b"x" * 50)
    assert drain(buffer) == [Oversized(1_000_000, b"x" * 16)]
    for _ in range(1_000):
        buffer.feed(b"x" * 999)
        assert drain(buffer) == []
        assert len(buffer) == 0
    buffer.feed(b"x" * (1_000_000 - 50 - 999_000) + frame(b"next"))
    assert drain(buffer) == [b"next"]
