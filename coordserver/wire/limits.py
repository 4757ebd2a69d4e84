"""Limits that the wire keeps by itself, with the names under which they are configured."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class WireLimits:
    """Bytes unless said otherwise.

    `frame_bytes`: the longest request frame of the native protocol, `jute_frame_bytes` of ZooKeeper's (jute.maxbuffer;
    there it bounds the whole packet). `outstanding`, `outstanding_bytes`: requests of one connection that wait
    for an answer, after which it is not read from; their bytes are counted from the last time when none waited.
    `znode_bytes`: told to clients; the state machine enforces it. `output_soft_bytes`: unsent output above which no
    further request is taken. `output_hard_bytes`: unsent output at which a connection is cut off.
    """

    frame_bytes: int = 4 * 1024 * 1024
    jute_frame_bytes: int = 0xFFFFF
    outstanding: int = 1_000
    outstanding_bytes: int = 16 * 1024 * 1024
    znode_bytes: int = 1024 * 1024
    output_soft_bytes: int = 1024 * 1024
    output_hard_bytes: int = 16 * 1024 * 1024

    def announced(self) -> dict[str, int]:
        """What the handshake tells a client."""
        return {
            "frame_bytes": self.frame_bytes,
            "outstanding": self.outstanding,
            "znode_bytes": self.znode_bytes,
        }
