"""Nobody in without a key: every route of the OpenAPI document; the cookie for pages; this machine alone without keys."""

import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from core.errors import BadSettings
from core.settings import Settings
from core.store import keys, migrate
from core.store.db import Database
from core.store.keys import Held, Scope
from service.access import AccessRules
from service.app import create_app
from service.openapi import document
from service.operations.supervisor import require_keys
from tests.service.keys import bearer, command, make
from tests.service.serving import pictures, serving

SCOPES = list(Scope)


def operations() -> list[tuple[str, str]]:
    paths = json.loads(document())["paths"]
    return [(method.upper(), path) for path, found in paths.items() for method in found]


def needed() -> dict[tuple[str, str], Scope]:
    """The scope of every operation that is not open."""
    rules = AccessRules(create_app(Settings()).routes)
    declared = {operation: rules.of(*operation) for operation in operations()}
    return {operation: access.scope for operation, access in declared.items() if access and access.scope}


@pytest.fixture
def held(db: Database) -> dict[Scope, str]:
    return {scope: make(db, scope) for scope in SCOPES}


@pytest.fixture
def client(settings: Settings, db: Database, held: dict[Scope, str]) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


def ask(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    return client.request(method, re.sub(r"{\w+}", "1", path), headers=headers)


def test_every_route_refuses_no_key_a_wrong_one_a_revoked_one_and_too_small_a_scope(
    client: httpx.Client, db: Database, held: dict[Scope, str]
) -> None:
    revoked = make(db, Scope.ADMIN)
    with db.write() as session:
        keys.revoke(session, revoked.split("_")[1])
    other_secret = held[Scope.ADMIN][:-1] + ("A" if held[Scope.ADMIN][-1] != "A" else "B")
    guarded = needed()
    assert len(guarded) > 30
    for (method, path), least in guarded.items():
        for headers in (
            {},
            bearer(keys.generate()),
            bearer(other_secret),
            bearer(revoked),
            bearer("x"),
            {"Authorization": "Basic YTpi"},
        ):
            answer = ask(client, method, path, headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path, headers)
            assert answer.headers["www-authenticate"] == "Bearer"
        for scope in SCOPES:
            answer = ask(client, method, path, bearer(held[scope]))
            if scope.covers(least):
                assert answer.status_code not in (401, 403), (method, path, scope, answer.text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "scope_too_small"), (method, path, scope)


def test_scopes_are_in_the_document_and_as_described() -> None:
    least = needed()
    assert least["GET", "/datasets"] == least["POST", "/neighbours"] == least["POST", "/classify"] == Scope.READ
    assert least["POST", "/jobs"] == least["DELETE", "/images/{image_id}"] == Scope.WRITE
    assert least["DELETE", "/datasets/{dataset_id}"] == least["DELETE", "/models/{model_id}"] == Scope.ADMIN
    assert {path for _, path in set(operations()) - set(least)} == {"/healthz", "/readyz", "/session"}
    paths = json.loads(document())["paths"]
    for method, path in operations():
        told = paths[path][method.lower()].get("security", [])
        assert told == ([{kind: [least[method, path].value]} for kind in ("key", "cookie")] if (method, path) in least else [])


def test_what_is_open_needs_no_key(client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/session"):
        assert client.get(path).status_code == 200, path


def test_an_upload_without_a_key_is_refused_before_its_body_is_read(client: httpx.Client) -> None:
    url = urlsplit(str(client.base_url))
    with socket.create_connection((url.hostname, url.port), timeout=10) as connection:
        connection.sendall(
            b"POST /datasets HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 60000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = b""
        while part := connection.recv(65536):  # to the end: the server closes the connection
            answer += part
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"100 Continue" not in answer


def test_a_revoked_key_ends_within_a_second_and_stays_so(client: httpx.Client, db: Database, held: dict[Scope, str]) -> None:
    key = held[Scope.READ]
    assert client.get("/datasets", headers=bearer(key)).status_code == 200
    with db.write() as session:
        keys.revoke(session, key.split("_")[1])
    with db.write() as session:
        keys.add(session, "again", Scope.ADMIN, key)
    time.sleep(1.1)
    assert client.get("/datasets", headers=bearer(key)).status_code == 401


def test_the_last_use_is_recorded(client: httpx.Client, db: Database, held: dict[Scope, str]) -> None:
    client.get("/datasets", headers=bearer(held[Scope.WRITE]))
    deadline = time.monotonic() + 10
    while True:
        with db.read() as session:
            last = {Scope(key.scope): key.last_used_at for key in keys.list_all(session)}
        if last[Scope.WRITE] or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert last[Scope.WRITE] is not None
    assert last[Scope.READ] is None


def test_only_a_hash_is_stored(db: Database, held: dict[Scope, str]) -> None:
    with db.read() as session:
        stored = [vars(key) for key in keys.list_all(session)]
    for text in held.values():
        assert text.split("_", 2)[2] not in str(stored)


def test_every_answer_has_security_headers_and_no_other_site_may_read(client: httpx.Client, held: dict[Scope, str]) -> None:
    for path in ("/datasets", "/healthz", "/nothing", "/docs"):
        answer = client.get(path, headers={**bearer(held[Scope.READ]), "Origin": "https://elsewhere.example"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert not any(name.startswith("access-control") for name in answer.headers)
    assert client.get("/datasets").headers["content-security-policy"].startswith("default-src 'none'")


def test_without_keys_this_machine_alone_is_served(settings: Settings, db: Database) -> None:
    with serving(settings, db) as client:
        assert client.get("/datasets").status_code == 200
        assert client.get("/session").json() == {"required": False, "scope": "admin"}
        rebound = client.get("/datasets", headers={"Host": "attacker.example"})
        assert (rebound.status_code, rebound.json()["code"]) == (403, "foreign_host")
        foreign = client.get("/datasets", headers={"Origin": "https://attacker.example"})
        assert (foreign.status_code, foreign.json()["code"]) == (403, "foreign_origin")
        key = make(db, Scope.READ)
        time.sleep(1.1)
        assert client.get("/datasets").status_code == 401
        assert client.get("/datasets", headers={**bearer(key), "Host": "photos.example"}).status_code == 200


def test_an_address_that_others_reach_never_opens(settings: Settings, db: Database) -> None:
    reachable = settings.model_copy(update={"host": "0.0.0.0", "database_url": db.url.render_as_string(hide_password=False)})
    with pytest.raises(BadSettings, match="keys create"):
        require_keys(reachable)
    with serving(reachable, db) as client:
        assert client.get("/datasets", headers={"Host": "localhost"}).status_code == 401
    make(db, Scope.READ)
    require_keys(reachable)


def test_without_a_database_what_needs_it_says_so(settings: Settings, tmp_path: Path) -> None:
    class Away(Database):
        """The URL of a server that nobody runs."""

    away = Away("postgresql+psycopg://nobody@127.0.0.1:9/none")
    with serving(settings, away) as client:
        assert client.get("/healthz").status_code == 200
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json()["missing"]) == (503, ["database"])
        for method, path in (("GET", "/datasets"), ("POST", "/neighbours"), ("GET", "/session")):
            answer = client.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable"), (path, answer.text)


def test_the_command_line_makes_lists_and_revokes(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCHORHOOD_DATA_DIR", str(settings.data_dir))
    text = command("keys", "create", "laptop", "--scope", "write").strip()
    assert re.fullmatch(r"ah_[0-9a-f]{12}_[\w-]{43}", text)
    folder = tmp_path / "secrets"
    command("secrets", str(folder))
    first = (folder / "admin-key").read_text()
    command("secrets", str(folder))
    assert (folder / "admin-key").read_text() == first
    modes = {path.name: f"{path.stat().st_mode & 0o777:o}" for path in (folder, *folder.iterdir())}
    assert modes == {"secrets": "710", "admin-key": "600", "database-password": "600", "broker-password": "640"}
    for _ in range(2):
        command("keys", "create", "admin", "--scope", "admin", "--key-file", str(folder / "admin-key"))
    listed = command("keys", "list")
    assert len(listed.splitlines()) == 2
    assert text not in listed and text.split("_")[1] in listed
    command("keys", "revoke", text.split("_")[1])
    assert "revoked" in command("keys", "list")
    migrate.upgrade(settings.database)
    db = Database(settings.database)
    assert keys.verify(db, text) is None
    assert keys.verify(db, first.strip()) == Held(first.split("_")[1], Scope.ADMIN, limited=False)
    db.dispose()


def test_an_upload_with_a_key_is_taken(client: httpx.Client, held: dict[Scope, str]) -> None:
    answer = client.post("/datasets", files={"file": ("a.zip", pictures(2))}, headers=bearer(held[Scope.WRITE]))
    assert answer.status_code == 202, answer.text
