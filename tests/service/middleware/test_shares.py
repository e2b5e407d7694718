"""What one client may have at a time, so that others have the rest: requests, event streams, time, and how fast it must read."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
import uvicorn
import uvloop
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Scope_

from core.ground import waiting
from core.jobs import lifecycle
from core.settings import Settings
from core.store import keys
from core.store.db import Database
from core.store.keys import Scope
from core.store.kinds import JobKind
from service.middleware import protocol
from service.middleware.deadlines import Deadlines
from tests.live import wait_for
from tests.service.answers import JSON, problem
from tests.service.serving import ready_dataset, serving

STREAM = {"Accept": "text/event-stream"}


@contextmanager
def limited(settings: Settings, db: Database, **limits: float) -> Iterator[httpx.Client]:
    with serving(settings.model_copy(update=limits), db) as client:
        yield client


@contextmanager
def locked(db: Database) -> Iterator[None]:
    """While this lasts, nothing can be written."""
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with db.write() as session:
            session.execute(text("SELECT 1"))  # which begins the transaction
            held.set()
            free.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        yield
    finally:
        free.set()
        thread.join()


def new_key(db: Database, scope: Scope = Scope.ADMIN) -> dict[str, str]:
    key = keys.generate()
    with db.write() as session:
        keys.add(session, "test", scope, key)
    return {"Authorization": f"Bearer {key}"}


def test_one_client_cannot_have_every_thread(settings: Settings, db: Database) -> None:
    """One key's requests wait for a lock; those beyond its share are refused, and another key's are answered."""
    if db.engine.dialect.name != "sqlite":
        pytest.skip("holds SQLite's lock")
    dataset = ready_dataset(db, settings)
    greedy, other = new_key(db), new_key(db)
    with limited(settings, db, max_requests=3) as client, ThreadPoolExecutor(9) as threads:
        for headers in (greedy, other):
            assert client.get("/datasets", headers=headers).status_code == 200  # from now on the keys are known
        with locked(db):
            job = {"dataset_id": dataset, "params": {"preset": "quick"}}
            asked = [threads.submit(client.post, "/jobs", json=job, headers=greedy) for _ in range(8)]
            wait_for(lambda: sum(each.done() for each in asked) == 5, "the refusals", 20)
            assert client.get("/datasets", headers=other).status_code == 200
            assert client.get("/healthz").status_code == 200
            refused = [each.result() for each in asked if each.done()]
        assert sorted(each.result().status_code for each in asked) == [202] * 3 + [429] * 5
    for answer in refused:
        problem(answer, 429, "too_many_requests")
        assert int(answer.headers["retry-after"]) >= 1


def test_a_client_that_asks_too_fast_is_told_when_to_come_again(settings: Settings, db: Database) -> None:
    with limited(settings, db, max_requests_per_second=0.5) as client:  # five at once
        answers = [client.get("/datasets") for _ in range(8)]
        assert [each.status_code for each in answers] == [200] * 5 + [429] * 3
        problem(answers[-1], 429, "too_many_requests")
        assert int(answers[-1].headers["retry-after"]) == 2
        assert {client.get(path).status_code for path in ("/healthz", "/readyz") for _ in range(10)} == {200}


def test_event_streams_are_counted(settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    with db.write() as session:
        job = lifecycle.create(session, JobKind.TRAIN, dataset).id
    with limited(settings, db, max_streams=2, max_requests=1) as client:
        path = f"/jobs/{job}/events"
        open_streams: list[Iterator[str]] = []  # one that is let go of ends
        with ExitStack() as stack:
            for _ in range(2):
                lines = stack.enter_context(client.stream("GET", path, headers=STREAM)).iter_lines()
                assert next(lines).startswith("id: 1")
                open_streams.append(lines)
            refused = client.get(path, headers=STREAM)
            problem(refused, 429, "too_many_requests")
            assert refused.headers["retry-after"]
            assert client.get(path).json()["data"]  # a page is no stream
        wait_for(lambda: opened(client, path), "the end of the streams", 10)


def opened(client: httpx.Client, path: str) -> bool:
    with client.stream("GET", path, headers=STREAM) as stream:
        return stream.status_code == 200


def test_a_request_has_a_deadline(settings: Settings, db: Database) -> None:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("holds SQLite's lock")
    dataset = ready_dataset(db, settings)
    with limited(settings, db, max_request_seconds=0.3) as client:
        with locked(db):
            answer = client.post("/jobs", json={"dataset_id": dataset, "params": {"preset": "quick"}})
            problem(answer, 503, "took_too_long")
            assert client.get("/datasets").status_code == 200
        assert client.get("/healthz").status_code == 200


def test_a_body_that_drips_has_the_same_deadline(settings: Settings, db: Database) -> None:
    def dripping() -> Iterator[bytes]:
        for _ in range(100):
            yield b" "
            time.sleep(0.02)

    with limited(settings, db, max_request_seconds=0.3) as client:
        problem(client.post("/jobs", content=dripping(), headers=JSON), 503, "took_too_long")


def test_every_body_that_never_ends_is_answered() -> None:
    """The timers of the answer and of the body are of one moment, and either may be first."""

    async def app(scope: Scope_, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async def status() -> int:
        statuses: list[int] = []

        async def dripping() -> Message:
            await asyncio.sleep(0.0013)
            return {"type": "http.request", "body": b"a", "more_body": True}

        async def send(message: Message) -> None:
            statuses.append(message.get("status", 0))

        time.sleep(0.001)  # by which its timers are late, each by another time
        await Deadlines(app, 0.1)({"type": "http", "method": "POST", "path": "/jobs", "headers": []}, dripping, send)
        return statuses[0]

    async def many() -> list[int]:
        return await asyncio.gather(*(status() for _ in range(50)))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as uvicorn has it
        assert set(runner.run(many())) == {503}


def test_an_upload_may_take_longer_than_a_request(settings: Settings, db: Database) -> None:
    def slow() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="x.zip"\r\n\r\nPK\x03\x04'
        for _ in range(12):
            time.sleep(0.1)
            yield bytes(1000)
        yield b"\r\n--x--\r\n"

    with limited(settings, db, max_request_seconds=1) as client:
        answer = client.post("/datasets", content=slow(), headers={"Content-Type": "multipart/form-data; boundary=x"})
        assert answer.status_code != 503, answer.text


def test_work_goes_on_only_while_somebody_waits() -> None:
    waiting.go_on()  # nobody asked for it: always
    wait = waiting.Wait()
    with ThreadPoolExecutor(1) as thread:

        def work() -> None:
            waiting.set_wait(wait)
            waiting.go_on()
            wait.over = True
            waiting.go_on()

        with pytest.raises(waiting.Abandoned):
            thread.submit(work).result()


def test_a_client_that_goes_ends_its_work() -> None:
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        try:
            while True:
                waiting.go_on()
                time.sleep(0.01)
        finally:
            ended.set()

    async def app(scope: Scope_, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await run_in_threadpool(work)

    server = uvicorn.Server(uvicorn.Config(Deadlines(app, 60), port=0, http=protocol.Protocol, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server", 20)
        with socket.create_connection(("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert began.wait(20)
            assert not ended.is_set()
        assert ended.wait(20)
    finally:
        server.should_exit = True
        thread.join()


def test_whether_it_is_ready_is_told_while_no_thread_is_free(settings: Settings, db: Database) -> None:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("holds SQLite's lock")
    dataset = ready_dataset(db, settings)
    with limited(settings, db, max_requests=100) as client, ThreadPoolExecutor(50) as threads:
        with locked(db):
            job = {"dataset_id": dataset, "params": {"preset": "quick"}}
            asked = [threads.submit(client.post, "/jobs", json=job) for _ in range(50)]
            time.sleep(0.5)
            for path in ("/healthz", "/readyz"):
                assert client.get(path).status_code == 200
            assert not any(each.done() for each in asked)
        assert {each.result().status_code for each in asked} == {202}


def test_an_answer_that_nobody_reads_is_let_go_of(settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_UNREAD_SECONDS", 0.2)
    with serving(settings, db) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", client.base_url.port))
        asked = b"GET /page/plotly.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(asked * 4)  # more than the buffers of the kernel hold
        time.sleep(1.5)
        length = int(client.head("/page/plotly.min.js").headers["content-length"])
        assert read_all(connection) < 4 * length


def read_all(connection: socket.socket) -> int:
    """How many bytes come before the end of a connection."""
    read = 0
    with suppress(ConnectionResetError):
        while data := connection.recv(1 << 20):
            read += len(data)
    return read
