"""What nobody may send without end: headers, trailers, addresses, bodies that no route reads; without a key and with one."""

import socket
from contextlib import suppress

import httpx
import pytest

from tests.service.answers import JSON, problem

SENT = 8 << 20


@pytest.fixture
def connection(api: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", api.base_url.port or 0), timeout=20)


def taken(connection: socket.socket, head: bytes, endless: bytes) -> int:
    """How many bytes of something endless a server takes before it cuts the connection; at most ``SENT``."""
    sent = 0
    with connection, suppress(OSError):
        connection.sendall(head)
        while sent < SENT:
            connection.sendall(endless)
            sent += len(endless)
    return sent


CHUNKED = b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "endless"),
    [
        (b"GET /healthz" + CHUNKED + b"0\r\n", b"X-Trailer: " + b"a" * 1000 + b"\r\n"),
        (b"POST /session" + CHUNKED + b'b\r\n{"key":"a"}\r\n0\r\n', b"X-Trailer: " + b"a" * 1000 + b"\r\n"),
        (b"POST /session" + CHUNKED + b"0\r\nX-Trailer: ", b"a" * 1000),
        (b"POST /session" + CHUNKED + b"1;x=", b"a" * 1000),
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"X-Header: " + b"a" * 1000 + b"\r\n"),
        (b"GET / HTTP/1.1\r\nX-Header: ", b"a" * 1000),
        (b"GET /" + b" HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"GET /", b"a" * 1000),
        (b"GET /healthz" + CHUNKED, b"400\r\n" + b"a" * 1024 + b"\r\n"),
    ],
    ids=["trailers", "trailers after a body", "one trailer", "extension", "line", "headers", "header", "second line", "no body"],
)
def test_what_has_no_end_ends_the_connection(connection: socket.socket, api: httpx.Client, head: bytes, endless: bytes) -> None:
    assert taken(connection, head, endless) < SENT
    assert api.get("/healthz").status_code == 200


def test_requests_that_nobody_waits_for_do_not_pile_up(connection: socket.socket, api: httpx.Client) -> None:
    body = b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 1000 + b"\r\n\r\n"
    assert taken(connection, body, head) < SENT  # after 99 bytes the others are requests, or no HTTP at all
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_only_asks_sends_no_body(api: httpx.Client, method: str) -> None:
    for path in ("/healthz", "/datasets"):
        problem(api.request(method, path, content=b"{}", headers=JSON), 413, "too_large", method)


def test_a_login_is_short(api: httpx.Client) -> None:
    assert api.post("/session", json={"key": "ah_" + "a" * 100}).status_code == 200
    for size in (5000, 20 << 20):
        problem(api.post("/session", content=b'{"key": "' + b"a" * size, headers=JSON), 413, "too_large")
        problem(api.post("/session", content=iter([b"a" * 2500] * (size // 2500)), headers=JSON), 413, "too_large")


@pytest.mark.parametrize("path", ["/healthz?", "/datasets?after=", "/datasets/", "/page/", "/nothing/"])
def test_an_address_is_short(api: httpx.Client, path: str) -> None:
    assert api.get(path + "a" * 8000).status_code < 500
    answer = api.get(path + "://a:" * 12_000)
    problem(answer, 414, "address_too_long")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]


def test_headers_are_short_and_few(api: httpx.Client) -> None:
    for headers in ({"Cookie": '"' * 60_000}, {"Cookie": "a=b;" * 9000}, {f"X-{n}": "a" for n in range(200)}):
        for path in ("/healthz", "/datasets", "/session"):
            problem(api.get(path, headers=headers), 431, "headers_too_long")


def test_quotes_in_cookies_take_no_time(api: httpx.Client) -> None:
    for path in ("/session", "/datasets", "/healthz"):  # of a quadratic time a request would take half a minute
        assert api.get(path, headers={"Cookie": 'a="' + '\\"' * 15_000 + '"'}, timeout=10).status_code == 200
