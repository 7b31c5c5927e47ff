"""An extraction that is cut off leaves nothing half, and the next one gives what an undisturbed one would have."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pipelines.config import stage
from pipelines.config.errors import TransientError
from pipelines.config.stage import TRANSIENT
from tests.support.sources import QUERIES, Source, source, template

__all__ = ["source", "template"]  # fixtures
PATHS = (
    "--queries",
    str(QUERIES.folder),
    "--rows",
    "data/rows.parquet",
    "--manifest",
    "data/manifest.json",
    "--left-out",
    "data/left_out.json",
)


@pytest.fixture
def undisturbed(source: Source) -> str:
    """SHA-256 of the rows as they should be."""
    source.pin()
    source.extract()
    return stage.sha256(source.folder / "rows.parquet")


@contextmanager
def cutting_proxy(port: int, after: int) -> Iterator[int]:
    """A port that passes on to Postgres at `port`, and ends each connection once the server has sent `after` bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def pump(origin: socket.socket, target: socket.socket, most: float) -> None:
        with suppress(OSError):
            while most > 0 and (data := origin.recv(4096)):
                target.sendall(data)
                most -= len(data)
        for end in (origin, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", port))
                ends.extend((client, server))
                for arguments in ((client, server, float("inf")), (server, client, after)):
                    threads.append(threading.Thread(target=pump, args=arguments))
                    threads[-1].start()

    ends: list[socket.socket] = []
    threads.append(threading.Thread(target=serve))
    threads[0].start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for end in (listener, *ends):
            end.close()


def through(source: Source, port: int) -> str:
    return source.url.replace(f":{port_of(source)}/", f":{port}/")


def port_of(source: Source) -> int:
    return int(source.url.rsplit(":", 1)[1].split("/")[0])


def test_a_killed_extraction_leaves_no_rows_and_the_next_converges(source: Source, undisturbed: str) -> None:
    made = source.folder / "data"
    killed = source.stage("extract", *PATHS, fault="extract:batch:kill")
    assert killed.returncode == -9
    assert not (made / "rows.parquet").exists()
    assert not (made / "manifest.json").exists()
    assert source.stage("extract", *PATHS).returncode == 0
    assert stage.sha256(made / "rows.parquet") == undisturbed
    assert sorted(file.name for file in made.iterdir()) == ["left_out.json", "manifest.json", "rows.parquet"]


def test_a_fault_is_named_and_leaves_nothing(source: Source) -> None:
    source.pin()
    failed = source.stage("extract", *PATHS, fault="extract:batch:raise")
    assert failed.returncode == 1
    assert "ERROR: Fault injected at extract:batch" in failed.stderr
    assert list((source.folder / "data").iterdir()) == []


@pytest.mark.parametrize("after", [0, 2_000, 60_000, 200_000], ids=lambda count: f"{count:,} bytes")
def test_a_cut_connection_is_transient_wherever_it_is_cut(source: Source, undisturbed: str, after: int) -> None:
    with cutting_proxy(port_of(source), after) as port:
        cut = Source(through(source, port), source.folder)
        (source.folder / "rows.parquet").unlink()
        with pytest.raises(TransientError, match=r"try again: nothing was changed"):
            cut.extract()
    assert [file.name for file in source.folder.iterdir()] == ["params.yaml"]
    source.extract()
    assert stage.sha256(source.folder / "rows.parquet") == undisturbed


def test_the_stage_asks_for_a_retry_when_postgres_goes_away_and_the_retry_gives_the_same_rows(
    source: Source, undisturbed: str
) -> None:
    with cutting_proxy(port_of(source), 100_000) as port:
        cut = source.stage("extract", *PATHS, url=through(source, port))
    assert cut.returncode == TRANSIENT, cut.stderr
    assert f"Postgres at 127.0.0.1:{port}" in cut.stderr
    assert "only-for-tests" not in cut.stderr + cut.stdout
    assert source.stage("extract", *PATHS).returncode == 0
    assert stage.sha256(source.folder / "data" / "rows.parquet") == undisturbed
