"""Connections that keep a server busy with nothing: uvicorn's HTTP protocol, with limits on slow clients and a soft end.

uvicorn itself closes a connection that is idle after an answer, but not one that never finishes a request; and at its own end
it closes idle connections at once, under requests that are just arriving.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 10.0  # for the whole of a request to arrive, and from the opening of a connection to its first
SWEEP_SECONDS = 1.0
HEAD_BYTES = 2**19  # until a request's headers are whole; the parser itself keeps what it gets, without end
PARTING_SECONDS = 1.5  # an idle client may still send a request, whose answer then says goodbye


class Bounded(HttpToolsProtocol):
    """One connection. `waiting_since`: when it began to wait for the rest of a request; None while it waits for our answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.parting = False
        self.waiting_since: float | None = self.loop.time()
        self.head: int | None = 0  # bytes that came before the headers were whole; None afterwards

    def data_received(self, data: bytes) -> None:
        if self.head is not None:
            self.head += len(data)
            if self.head > HEAD_BYTES:
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        if self.waiting_since is None:
            self.waiting_since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head = None
        super().on_headers_complete()
        if self.parting:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        self.waiting_since, self.head = None, 0
        super().on_message_complete()

    def shutdown(self) -> None:
        self.parting = True
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        else:
            self.loop.call_later(PARTING_SECONDS, self._part)

    def _part(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def end_if_slow(self, now: float) -> None:
        if self.waiting_since is not None and now - self.waiting_since > REQUEST_SECONDS:
            self.transport.close()


async def sweep(connections: Any) -> None:
    """Close slow connections, for ever. `connections`: the server's set of them."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        now = asyncio.get_running_loop().time()
        for connection in list(connections):
            connection.end_if_slow(now)
