"""Memory that connections hold for a time, bounded for all of them together: unsent output, unfinished input."""

from __future__ import annotations

from collections.abc import Iterator

from coordserver.server.channel import Channel


class HeldBytes:
    """Bytes held by each channel, and their total. `what` and `setting` name them and their limit in the log."""

    def __init__(self, what: str, setting: str, limit: int) -> None:
        self.what = what
        self.setting = setting
        self.limit = limit
        self.total = 0
        self._by_channel: dict[Channel, int] = {}

    def note(self, channel: Channel, held: int) -> None:
        """Note that a channel holds so many bytes now."""
        by_channel = self._by_channel
        if held:
            self.total += held - by_channel.get(channel, 0)
            by_channel[channel] = held
        else:
            self.total -= by_channel.pop(channel, 0)

    @property
    def pressed(self) -> bool:
        """More than half of the limit is used."""
        return self.total > self.limit // 2

    @property
    def exceeded(self) -> bool:
        """More than the limit is used."""
        return self.total > self.limit

    def excess(self) -> Iterator[tuple[Channel, str]]:
        """Channels to cut off and why, those that hold most first, until the total is within the limit again.

        Of channels that hold the same, the one that has held bytes for longest comes first. The caller cuts each
        channel off, and notes 0 bytes for it, before it asks for the next.
        """
        by_channel = self._by_channel
        largest = sorted(by_channel, key=by_channel.__getitem__, reverse=True) if self.exceeded else ()
        for channel in largest:
            yield (
                channel,
                f"it holds {by_channel[channel]} bytes of {self.what}, the most of all; together they hold "
                f"{self.total}, and {self.setting} is {self.limit}",
            )
            if not self.exceeded:
                return


class ConnectionMemory:
    """What all channels hold. `exceeded`: somebody is to be cut off."""

    def __init__(self, *, output_total: int, input_total: int) -> None:
        self.output = HeldBytes("unsent answers and events", "output_total_bytes", output_total)
        self.input = HeldBytes("unfinished requests", "input_total_bytes", input_total)
        self.exceeded = False

    def note_output(self, channel: Channel) -> int:
        """Count what a channel has not sent; how much that is."""
        unsent = channel.port.unsent
        if unsent != channel.unsent:
            channel.unsent = unsent
            self.output.note(channel, unsent)
            self.exceeded = self.exceeded or self.output.exceeded
        return unsent

    def note_input(self, channel: Channel) -> None:
        """Count what a channel has read and not handled."""
        unread = channel.port.input_bytes
        if unread != channel.unread:
            channel.unread = unread
            self.input.note(channel, unread)
            self.exceeded = self.exceeded or self.input.exceeded

    def forget(self, channel: Channel) -> None:
        """A channel is closed."""
        self.output.note(channel, 0)
        self.input.note(channel, 0)

    def excess(self) -> Iterator[tuple[Channel, str]]:
        """Channels to cut off and why; see `HeldBytes.excess`."""
        self.exceeded = False
        yield from self.output.excess()
        yield from self.input.excess()
