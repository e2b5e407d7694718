"""Below a path of a proxy: one that takes the path off and says so, one that says nothing, one that leaves it on."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urljoin

import httpx
import pytest

from core.errors import BadSettings
from core.settings import Settings
from core.store.db import Database
from core.store.keys import Scope
from tests.service.answers import problem
from tests.service.keys import bearer, make
from tests.service.serving import pictures, serving

BELOW = "/anchorhood"


@contextmanager
def proxy(upstream: httpx.URL, *, tells: bool, takes_off: bool = True, own_host: bool = False) -> Iterator[str]:
    """As nginx's ``location /anchorhood/ { proxy_pass http://127.0.0.1:8000/; }``; the address below which it serves.

    Args:
        tells: whether it sends ``X-Forwarded-Prefix``.
        own_host: whether ``Host`` is the service's address, as nginx has it by default, or what the browser sent.
    """

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if not self.path.startswith(f"{BELOW}/") and not (self.path == BELOW and not takes_off):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            if tells:
                headers["X-Forwarded-Prefix"] = BELOW
            if own_host:
                headers["Host"] = upstream.netloc.decode()
            there = http.client.HTTPConnection(upstream.host, upstream.port, timeout=60)
            path = self.path[len(BELOW) :] if takes_off else self.path
            there.request(self.command, path, body or None, {**headers, "Connection": "close"})
            answer = there.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            there.close()

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = forward

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{BELOW}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def key(db: Database) -> dict[str, str]:
    """As a header: without any key the requests of a proxy that says what it is are refused."""
    return bearer(make(db, Scope.WRITE))


@pytest.fixture
def service(settings: Settings, db: Database, key: dict[str, str]) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        client.headers.update(key)
        yield client


def used(url: str, key: dict[str, str], located: bool) -> None:
    """What a client does there: documents, an upload and where it is, a slash too many."""
    with httpx.Client(timeout=60, headers=key) as client:
        page = client.get(url)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert client.get(f"{url}docs").status_code == client.get(f"{url}page/docs.js").status_code == 200
        servers = client.get(f"{url}openapi.json").json().get("servers")
        assert servers == ([{"url": BELOW}] if located else None)
        assert client.get(f"{url}datasets/?limit=3").next_request.url == httpx.URL(f"{url}datasets?limit=3")  # type: ignore[union-attr]
        own = {"Origin": url.removesuffix(f"{BELOW}/")}
        made = client.post(f"{url}datasets", files={"file": ("a.zip", pictures(2))}, headers=own)
        assert made.status_code == 202, made.text
        more = client.post(f"{url}datasets/{made.json()['id']}/images", files={"file": ("a.zip", pictures(3))}, headers=own)
        assert more.status_code == 202
        for answer in (made, more):
            place = urljoin(str(answer.request.url), answer.headers["location"])
            if located:
                assert place.startswith(url)
                assert client.get(place).json()["id"] == answer.json()["id"]


def test_below_a_proxy_that_says_so(service: httpx.Client, key: dict[str, str]) -> None:
    with proxy(service.base_url, tells=True) as url:
        used(url, key, located=True)


def test_below_a_proxy_that_says_nothing(service: httpx.Client, key: dict[str, str]) -> None:
    with proxy(service.base_url, tells=False) as url:
        used(url, key, located=False)


@pytest.mark.parametrize("takes_off", [True, False])
def test_below_the_path_of_the_settings(settings: Settings, db: Database, key: dict[str, str], takes_off: bool) -> None:
    with serving(settings.model_copy(update={"root_path": BELOW}), db) as service:
        with proxy(service.base_url, tells=False, takes_off=takes_off) as url:
            used(url, key, located=True)
            if not takes_off:
                assert httpx.get(url.removesuffix("/"), follow_redirects=True).url == url
        assert service.get("/healthz").status_code == 200


def test_a_path_in_the_settings_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("anchorhood", "/anchorhood/", "//evil.example", "/a b", "https://x.example/a"):
        monkeypatch.setenv("ANCHORHOOD_ROOT_PATH", wrong)
        with pytest.raises(BadSettings, match="ANCHORHOOD_ROOT_PATH"):
            Settings.load()


def test_the_cookie_is_for_the_path(service: httpx.Client, db: Database) -> None:
    text = make(db, Scope.READ)
    with proxy(service.base_url, tells=True) as url, httpx.Client() as browser:
        answer = browser.post(f"{url}session", json={"key": text})
        assert f"Path={BELOW};" in answer.headers["set-cookie"]
        assert browser.get(f"{url}session").json() == {"required": True, "scope": "read"}
        assert browser.get(f"{url}datasets").status_code == 200
        forgotten = browser.delete(f"{url}session", headers={"Origin": url.removesuffix(f"{BELOW}/")})
        assert f"Path={BELOW};" in forgotten.headers["set-cookie"]
        assert not browser.cookies
    assert "Path=/;" in service.post("/session", json={"key": text}).headers["set-cookie"]


@pytest.mark.parametrize(
    ("given", "location"),
    [
        ("/a", "/a/datasets/"),
        ("/a/", "/a/datasets/"),
        ("/a, /b", "/a/b/datasets/"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f/datasets/"),
        ("/", "/datasets/"),
        ("", "/datasets/"),
        ("//evil.example", "/datasets/"),
        ("https://evil.example", "/datasets/"),
        ("/a\\b", "/datasets/"),
        ("/a b", "/datasets/"),
        ("/%2e%2e", "/datasets/"),
    ],
)
def test_a_prefix_is_a_path_or_none(service: httpx.Client, given: str, location: str) -> None:
    answer = service.post("/datasets", files={"file": ("a.zip", pictures(2))}, headers={"X-Forwarded-Prefix": given})
    assert answer.headers["location"] == location + answer.json()["id"]


def test_a_path_of_the_service_may_be_the_prefix(service: httpx.Client) -> None:
    given = {"X-Forwarded-Prefix": "/datasets"}
    assert service.get("/datasets", headers=given).json() == {"data": [], "next": None}
    assert service.get("/datasets/ds_1", headers=given).json()["code"] == "dataset_not_found"


def test_the_pages_requests_pass_where_a_proxy_names_the_host_itself(service: httpx.Client, db: Database) -> None:
    """nginx sends ``Host: 127.0.0.1:8000`` unless told otherwise, and the page's ``Origin`` is another then."""
    with proxy(service.base_url, tells=True, own_host=True) as url, httpx.Client(timeout=60) as browser:
        origin = url.removesuffix(f"{BELOW}/")
        assert browser.post(f"{url}session", json={"key": make(db, Scope.WRITE)}).status_code == 200
        file = {"file": ("a.zip", pictures(2))}
        assert browser.post(f"{url}datasets", files=file, headers={"Origin": origin}).json()["code"] == "foreign_origin"
        for more in ({"Sec-Fetch-Site": "same-origin"}, {"X-Forwarded-Host": origin.removeprefix("http://")}):
            answer = browser.post(f"{url}datasets", files=file, headers={"Origin": origin, **more})
            assert answer.status_code == 202, more
        for site in ("cross-site", "same-site", "none", ""):
            foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": site}
            assert browser.post(f"{url}datasets", files=file, headers=foreign).json()["code"] == "foreign_origin"


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "X-Real-IP",
        "Via",
        "x-forwarded",
    ],
)
def test_without_keys_nothing_comes_through_a_proxy(settings: Settings, db: Database, header: str) -> None:
    """One on this machine would make an administrator of everybody; trusted or not."""
    with serving(settings.model_copy(update={"trusted_proxies": "127.0.0.1"}), db) as local:
        for path in ("/datasets", "/", "/healthz"):
            assert local.get(path).status_code == 200
            detail = problem(local.get(path, headers={header: "for=127.0.0.1"}), 403, "forwarded")
            assert header.lower() in detail and "anchorhood keys create" in detail
        problem(local.delete("/datasets/ds_1", headers={header: "x"}), 403, "forwarded")
    key = bearer(make(db, Scope.READ))
    with serving(settings, db) as guarded:
        assert guarded.get("/datasets", headers={**key, header: "for=127.0.0.1"}).status_code == 200
