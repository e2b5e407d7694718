"""The page's sessions: a random id in a cookie, never the key; what ends one; what a proxy says of the connection outside."""

import time
from collections.abc import Iterator
from datetime import timedelta
from http.cookies import Morsel, SimpleCookie

import httpx
import pytest
from sqlalchemy import select, update

from core.errors import BadSettings
from core.settings import Settings
from core.store import keys, sessions
from core.store.columns import now
from core.store.db import Database
from core.store.keys import Scope
from core.store.tables import ApiKey, PageSession
from tests.service.answers import problem
from tests.service.keys import bearer, make, revoke
from tests.service.serving import serving

FOREIGN = {"Origin": "https://elsewhere.example"}


@pytest.fixture
def key(db: Database) -> str:
    return make(db, Scope.WRITE)


@pytest.fixture
def client(settings: Settings, db: Database, key: str) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return morsel


def open_session(client: httpx.Client, key: str, **headers: str) -> Morsel[str]:
    answer = client.post("/session", json={"key": key}, headers=headers)
    assert answer.json() == {"required": True, "scope": "write"}
    return cookie_of(answer)


def test_a_page_gets_a_random_id_for_its_key(client: httpx.Client, db: Database, key: str) -> None:
    assert client.get("/session").json() == {"required": True, "scope": None}
    problem(client.post("/session", json={"key": keys.generate()}), 401, "unauthorized")
    cookie, other = open_session(client, key), open_session(client, key)
    assert cookie.value != other.value and len(cookie.value) >= 22, "128 bits"
    assert key.split("_", 2)[2] not in cookie.value
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "strict", "/", "")
    with db.read() as session:
        stored = [vars(row) for row in session.scalars(select(PageSession))]
    assert len(stored) == 2
    assert cookie.value not in str(stored) and other.value not in str(stored)
    assert client.get("/datasets").status_code == 200  # the client keeps the cookie
    assert client.get("/session").json()["scope"] == "write"
    problem(client.delete("/datasets/1"), 403, "scope_too_small")


def test_a_key_is_no_session_and_a_session_no_key(client: httpx.Client, key: str) -> None:
    cookie = open_session(client, key)
    client.cookies.clear()
    problem(client.get("/datasets", headers=bearer(cookie.value)), 401, "unauthorized")
    for name in (cookie.key, "anchorhood_key"):
        problem(client.get("/datasets", headers={"Cookie": f"{name}={key}"}), 401, "unauthorized")
    assert client.get("/datasets", headers={"Cookie": f"a=b; {cookie.key}={cookie.value}; c"}).status_code == 200


def test_the_cookie_is_named_by_host_and_port(client: httpx.Client, key: str) -> None:
    names = {open_session(client, key, Host=host).key for host in ("localhost:8000", "localhost:8001", "photos.example")}
    assert names == {"anchorhood-localhost-8000", "anchorhood-localhost-8001", "anchorhood-photos.example"}


def test_a_long_cookie_of_quotes_is_read_at_once(client: httpx.Client) -> None:
    problem(client.get("/datasets", headers={"Cookie": "a=" + chr(34) + chr(92) * 30_000}), 401, "unauthorized")


def test_logging_out_ends_the_session(client: httpx.Client, db: Database, key: str) -> None:
    cookie, other = open_session(client, key), open_session(client, key)
    sent = {"Cookie": f"{cookie.key}={cookie.value}"}
    client.cookies.clear()
    assert client.get("/datasets", headers=sent).status_code == 200
    gone = client.delete("/session", headers=sent)
    assert (gone.status_code, cookie_of(gone)["max-age"]) == (204, "0")
    problem(client.get("/datasets", headers=sent), 401, "unauthorized")
    assert client.get("/session", headers=sent).json()["scope"] is None
    assert client.get("/datasets", headers={"Cookie": f"{other.key}={other.value}"}).status_code == 200, "that of another browser"
    assert client.delete("/session").status_code == 204


def test_a_session_ends_with_its_key(client: httpx.Client, db: Database, key: str) -> None:
    open_session(client, key)
    assert client.get("/datasets").status_code == 200
    revoke(db, key)
    time.sleep(1.1)
    problem(client.get("/datasets"), 401, "unauthorized")
    assert client.get("/session").json()["scope"] is None


def test_a_session_ends_with_a_key_that_expires(client: httpx.Client, db: Database, key: str) -> None:
    open_session(client, key)
    with db.write() as session:
        session.execute(update(ApiKey).values(expires_at=now() - timedelta(seconds=1)))
    time.sleep(1.1)
    problem(client.get("/datasets"), 401, "unauthorized")
    problem(client.get("/datasets", headers=bearer(key)), 401, "unauthorized")


def test_a_session_lasts_as_long_as_it_is_used_and_not_forever(db: Database, key: str) -> None:
    idle = timedelta(hours=12)
    text = sessions.start(db, key.split("_")[1], idle)

    def goes_on(**moments: timedelta) -> bool:
        with db.write() as session:
            session.execute(update(PageSession).values({name: now() - ago for name, ago in moments.items()}))
        return sessions.verify(db, text, idle) is not None

    assert goes_on(used_at=idle - timedelta(minutes=1))
    sessions.record_use(db, text)
    with db.read() as session:
        assert session.scalars(select(PageSession.used_at)).one() > now() - timedelta(hours=1)
    assert not goes_on(used_at=idle)
    assert goes_on(used_at=timedelta(0), created_at=14 * idle - timedelta(minutes=1))
    assert not goes_on(used_at=timedelta(0), created_at=14 * idle)
    sessions.start(db, key.split("_")[1], idle)
    with db.read() as session:
        assert len(session.scalars(select(PageSession)).all()) == 1, "those that are over are deleted"


def test_pages_of_other_sites_change_nothing(client: httpx.Client, key: str) -> None:
    problem(client.post("/session", json={"key": key}, headers=FOREIGN), 403, "foreign_origin")
    open_session(client, key)
    problem(client.get("/datasets", headers=FOREIGN), 403, "foreign_origin")
    problem(client.delete("/images/1", headers=FOREIGN), 403, "foreign_origin")
    problem(client.delete("/session", headers=FOREIGN), 403, "foreign_origin")
    assert client.get("/datasets").status_code == 200
    assert client.get("/datasets", headers={**bearer(key), **FOREIGN}).status_code == 200, "no browser added that"


@pytest.mark.parametrize("told", [{"X-Forwarded-Proto": "https"}, {"Forwarded": "for=192.0.2.7;proto=https;host=photos.example"}])
@pytest.mark.parametrize("trusted", ["", "192.0.2.0/24", "10.0.0.1,127.0.0.0/8"])
def test_the_cookie_is_secure_where_a_trusted_proxy_tells_of_tls(
    settings: Settings, db: Database, key: str, trusted: str, told: dict[str, str]
) -> None:
    with serving(settings.model_copy(update={"trusted_proxies": trusted}), db) as client:
        assert bool(open_session(client, key, **told)["secure"]) == ("127" in trusted)
        assert not open_session(client, key)["secure"]


def test_proxies_in_the_settings_are_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("*", "proxy.example", "10.0.0.1/8"):
        monkeypatch.setenv("ANCHORHOOD_TRUSTED_PROXIES", wrong)
        with pytest.raises(BadSettings, match="ANCHORHOOD_TRUSTED_PROXIES"):
            Settings.load()
    monkeypatch.setenv("ANCHORHOOD_TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert Settings.load().trusted_proxies == "10.0.0.0/8,::1"
