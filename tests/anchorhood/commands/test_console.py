"""Commands on the machines that people have: paths that cannot be used, consoles that are not UTF-8, proxies, wrong URLs."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from anchorhood import ApiError, Client, Unreachable
from anchorhood.address import proxy_of
from anchorhood.commands.jobs import KINDS, STATUSES
from anchorhood.commands.train import PRESETS
from core.ground import parameters
from core.settings import Settings
from core.store.db import Database
from service.openapi import document
from tests.conftest import image_bytes, write_zip
from tests.running_commands import Quiet, answering, run
from tests.service.serving import pictures, ready_dataset, serving

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def served(settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        monkeypatch.setenv("ANCHORHOOD_URL", str(client.base_url))
        monkeypatch.setenv("ANCHORHOOD_DATA_DIR", str(settings.root))
        yield client


# Paths


def test_a_path_that_cannot_be_used_is_one_line(served: httpx.Client, settings: Settings, db: Database, tmp_path: Path) -> None:
    """The system's refusals, as a root user meets them too: a file for a folder, a name too long, a link that loops, a folder."""
    dataset = ready_dataset(db, settings)
    table = tmp_path / "file.csv"
    table.write_text("path,label\n")
    loop = tmp_path / "loop.npz"
    loop.symlink_to(loop)
    long = tmp_path / ("n" * 300 + ".npz")
    (tmp_path / "folder.npz").mkdir()
    os.mkfifo(tmp_path / "pipe")
    refused: list[list[object]] = [
        ["datasets", "upload", table / "x"],
        ["datasets", "upload", tmp_path / "pipe"],
        ["datasets", "add", dataset, table / "x"],
        ["datasets", "label", dataset, table / "x"],
        ["neighbours", table / "x.png"],
        ["neighbours", "n" * 300],
        ["classify", long],
        ["classify", "--all", dataset, "--out", table / "x.csv"],
        ["export", dataset, "--out", table / "x.npz", "--model", "mdl_00"],
        ["export", dataset, "--out", long, "--model", "mdl_00"],
        ["export", dataset, "--out", loop, "--model", "mdl_00"],
        ["export", dataset, "--out", tmp_path / "none" / "x.npz", "--model", "mdl_00"],
        ["export", dataset, "--out", tmp_path / "folder.npz", "--model", "mdl_00"],
        ["attention", "1", "--out", table / "x.png", "--model", "mdl_00"],
        ["train", table, "--out", table / "x"],
        ["train", table, "--out", table],
        ["train", table, "--local", "--out", table / "x"],
        ["demo", "--out", table / "x"],
        ["backup", table / "x"],
        ["restore", table / "x"],
        ["secrets", table / "x"],
        ["--url", served.base_url, "keys", "create", "k", "--scope", "read", "--key-file", tmp_path / "folder.npz"],
    ]
    for arguments in refused:
        said = run(arguments)
        assert said.code in (1, 2), arguments
        assert "Traceback" not in said.err and said.err.strip(), arguments
        if said.code == 1:
            assert said.line.startswith("error: "), arguments
    assert [one["id"] for one in served.get("/datasets").json()["data"]] == [dataset]
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_may_not_be_read_or_written_is_one_line(tmp_path: Path) -> None:
    """As another user than root, whom the system refuses nothing."""
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.png").write_bytes(image_bytes(1))
    shutil.copy(closed / "a.png", tmp_path / "a.png")
    closed.chmod(0)
    (tmp_path / "a.png").chmod(0)
    for above in (tmp_path, *tmp_path.parents):
        if "pytest" in str(above) and above.stat().st_uid == os.getuid():
            above.chmod(0o755)
    commands = [
        ["datasets", "upload", str(closed / "a.png")],
        ["datasets", "upload", str(tmp_path / "a.png")],
        ["neighbours", str(closed / "a.png")],
        ["classify", str(tmp_path / "a.png")],
        ["export", "ds_00", "--model", "mdl_00", "--out", str(tmp_path / "x.npz")],
        ["train", str(tmp_path), "--out", str(tmp_path / "new" / "model")],
        ["demo", "--out", str(closed / "demo")],
    ]
    code = (
        "import encodings.idna, json, os, sys\n"
        "from tests.running_commands import run\n"
        "import core.store.migrate, service.operations.demo, service.uploads, sklearn.datasets\n"
        "if os.getuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"
        "print(json.dumps([run(one) for one in json.loads(sys.argv[1])]))"
    )
    env = {**os.environ, "ANCHORHOOD_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for arguments, (exit_code, out, err) in zip(commands, json.loads(done.stdout), strict=True):
        assert (exit_code in (1, 2), out) == (True, ""), (arguments, err)
        assert "ermission denied" in err or "not readable" in err or "does not exist" in err or "neither a file" in err, (
            arguments,
            err,
        )
    closed.chmod(0o700)


@pytest.mark.parametrize("command", ["run", "evaluate", "attention", "fetch"])
def test_the_trainer_says_in_one_line_which_path_it_cannot_use(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    from trainer.__main__ import main

    file = tmp_path / "file"
    file.write_text("x")
    for number in range(2):
        (tmp_path / "photos" / "a").mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "a" / f"{number}.png").write_bytes(image_bytes(number))
    photos = str(tmp_path / "photos")
    arguments = {
        "run": ["run", photos, "--out", str(file / "x")],
        "evaluate": ["evaluate", str(file / "run"), "--data", photos],
        "attention": ["attention", str(file / "run"), "--data", photos, "--images", "a/0.png", "--out", str(file / "x.png")],
        "fetch": ["fetch", "cifar10", str(file / "x")],
    }[command]
    assert main(arguments) in (1, 2)
    assert len(capfd.readouterr().err.strip().splitlines()) == 1


# Consoles


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_a_console_cannot_show_are_escaped(
    served: httpx.Client, settings: Settings, db: Database, tmp_path: Path, encoding: str
) -> None:
    archive = write_zip(tmp_path / "a.zip", {"猫.txt": b"no image", **{f"{n}.png": image_bytes(n) for n in range(3)}})
    dataset = ready_dataset(db, settings, archive.read_bytes())
    with db.write() as session:
        from core.store.tables import Dataset

        session.get_one(Dataset, dataset).name = "Kätzchen 猫"
    for arguments in (["datasets", "list"], ["datasets", "show", dataset], ["datasets", "show", "Kätzchen 猫", "--json"]):
        said = run(arguments, encoding)
        assert (said.code, said.err) == (0, "")
        assert ("猫" if encoding == "utf-8" and "--json" not in arguments else "\\u732b") in said.out
    said = run(["datasets", "show", "猫"], encoding)
    assert said.line == f"error: there is no dataset {'猫' if encoding == 'utf-8' else chr(92) + 'u732b'}"
    table = tmp_path / "猫.csv"
    table.write_text("path,label\n猫.png,a\n", encoding="utf-8")
    assert run(["datasets", "label", dataset, table], encoding).line.startswith("error: 1 of 1 are not in")


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
def test_a_real_process_on_a_console_of_ascii(served: httpx.Client, tmp_path: Path, environment: dict[str, str]) -> None:
    env = {**os.environ, **environment}
    command = [sys.executable, "-m", "anchorhood", "datasets", "show", "猫"]
    done = subprocess.run(command, env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"error: there is no dataset \\u"), done.stderr


# Ways to a service


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:8000", "url: 'localhost:8000' does not begin with http:// or https://; perhaps http://localhost:8000"),
        ("127.0.0.1", "perhaps http://127.0.0.1"),
        ("ftp://host", "scheme 'ftp'"),
        ("http://", "names no host"),
        ("http://host:99999", "port 99999"),
        ("http://host:abc", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://a b", "names no host"),
        ("http://a\nb", "is no URL"),
        ("http://a..b", "is no URL"),
        ("http://" + "a" * 300, "is no URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line(url: str, message: str) -> None:
    said = run(["--url", url, "datasets", "list"])
    assert (said.code, message in said.line) == (2, True), said
    with pytest.raises(ValueError, match=r"^url: "):
        Client(url)


@pytest.mark.parametrize("key", ["ah_ü", "ah_1\n", "ah 1", "ah_\u200b"])
def test_a_key_that_cannot_be_sent_is_one_line_without_the_key(key: str) -> None:
    said = run(["--key", key, "datasets", "list"])
    assert (said.code, said.line) == (
        2,
        "error: key: holds a blank, a line break or a character that is not ASCII, which no key does",
    )


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_is_asked_for_this_machine(served: httpx.Client, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for proxy in ("http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense://"):
        monkeypatch.setenv(name, proxy)
        for host in ("127.0.0.1", "localhost", "127.0.0.1"):
            assert run(["--url", f"http://{host}:{served.base_url.port}", "datasets", "list"]).code == 0


def test_which_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    monkeypatch.setenv("NO_PROXY", "inside.example,.lab")
    expected = {
        "http://service.example": "http://proxy:3128",
        "https://service.example": "http://all:1",
        "http://inside.example:8000": None,
        "http://gpu.lab": None,
        "http://[::1]:8000": None,
        "http://127.8.8.8": None,
        "http://0.0.0.0:8000": None,
        "http://a.localhost": None,
    }
    assert {url: proxy_of(httpx.URL(url)) for url in expected} == expected


class Refusing(Quiet):
    """A proxy, or some other web server, that has a page for everything."""

    def do_GET(self) -> None:
        self.answer(200 if "captive" in self.path else 403, b"<html>access\ndenied</html>")


@pytest.fixture
def refusing() -> Iterator[str]:
    with answering(Refusing) as address:
        yield address


def test_an_error_through_a_proxy_names_the_proxy(monkeypatch: pytest.MonkeyPatch, refusing: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@{refusing}")
    said = run(["--url", "http://service.example", "datasets", "list"])
    proxy = f"through the proxy http://{refusing}"
    assert (said.code, said.line) == (
        1,
        f"error: an answer {proxy} that is not Anchorhood's: <html>access denied</html> (403 not_anchorhood)",
    )
    assert proxy in run(["--url", "http://captive.example", "datasets", "list"]).line  # 200, but no JSON
    monkeypatch.setattr("anchorhood.transport._FIRST_PAUSE", 0.0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}")
        with (
            Client("http://service.example") as client,
            pytest.raises(Unreachable, match="through the proxy http://127") as error,
        ):
            client.image(1)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("proxy", "message"), [("socks5://p:1", "socksio"), ("gopher://p:1", "gopher"), ("http://p:abc", "Invalid port")]
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str, message: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    said = run(["--url", "http://service.example", "datasets", "list"])
    assert said.code == 2 and proxy in said.line and message in said.line


def test_another_web_server_is_told_from_anchorhood(refusing: str) -> None:
    with Client(f"http://{refusing}") as client, pytest.raises(ApiError, match="not Anchorhood's") as error:
        client.image(1)
    assert error.value.code == "not_anchorhood"


# Words


def test_version_help_and_choices(tmp_path: Path) -> None:
    assert run(["--version"]).out.startswith("anchorhood, version ")
    assert run(["-h"]).out == run(["--help"]).out
    assert "Example: anchorhood jobs list" in run(["jobs", "list", "-h"]).out
    for arguments, choices in (
        (["jobs", "list", "--kind", "x"], "'ingest', 'train', 'embed', 'classify', 'compact', 'attention'"),
        (["jobs", "list", "--status", "x"], "'queued', 'running', 'succeeded', 'failed', 'cancelled'"),
        (["train", str(tmp_path), "--preset", "x"], "'paper', 'released', 'quick', 'best', 'large', 'fine-grained'"),
    ):
        said = run(arguments)
        assert said.code == 2 and choices in said.err.replace("\n", " "), said.err


def test_choices_are_those_of_the_api() -> None:
    schemas = json.loads(document())["components"]["schemas"]
    assert tuple(schemas["JobKind"]["enum"]) == KINDS
    assert tuple(schemas["JobStatus"]["enum"]) == STATUSES
    preset = schemas["Params"]["properties"]["preset"]
    assert tuple(preset["anyOf"][0]["enum"]) == PRESETS


def test_a_wrong_parameter_is_refused_before_anything_is_sent(served: httpx.Client, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    archive.write_bytes(pictures(20))
    for more, said in (
        (["--param", "epocs=3"], "params.epocs: is not a parameter; did you mean epochs?"),
        (["--param", "evaluation=ds_1"], "params.evaluation: is not a parameter"),
        (["--param", "self=1"], "params.self: is not a parameter"),
        (["--param", "backbone=vgg"], "params.backbone: Input should be 'resnet10'"),
        (["--param", "epochs=NaN"], "nan is not a finite number"),
    ):
        assert said in run(["train", archive, *more]).line
    here = run(["train", archive, "--local", "--out", tmp_path / "run", "--param", "epocs=3"])
    assert here.code == 2 and "epocs: is not a parameter; did you mean epochs?" in here.err
    assert "given twice" in run(["train", archive, "--preset", "quick", "--param", "preset=paper"]).err
    assert served.get("/datasets").json()["data"] == []


def test_what_is_learned_already_is_one_option(served: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "bad.zip"
    archive.write_bytes(b"no zip")  # is refused after the parameters
    advice = "for photographs --pretrained is better"
    for more in (
        ["--pretrained"],
        ["--frozen"],
        ["--frozen", "--pretrained"],
        ["--param", "init=imagenet"],
        ["--preset", "paper"],
    ):
        said = run(["train", archive, *more]).err
        assert "bad_archive" in said and advice not in said
    for more in ([], ["--preset", "quick"], ["--param", "rounds=2"]):
        said = run(["train", archive, *more]).err
        assert "bad_archive" in said and said.count(advice) == 1
    assert "bad_archive" in run(["train", archive, "--json"]).line
    both = run(["train", archive, "--pretrained", "--param", "init=mdl_0a"])
    assert both.code == 2 and "and init is mdl_0a; give one of the two" in both.err
    assert "method is given twice" in run(["train", archive, "--frozen", "--param", "method=and"]).err
    assert run(["train", archive, "--frozen", "--param", "init=mdl_0a"]).line.startswith(
        "error: params.init: there is no model mdl_0a"
    )
    assert "frozen trains nothing" in run(["train", archive, "--frozen", "--param", "rounds=3"]).line
    assert "pretrained: is not a parameter" in run(["train", archive, "--param", "pretrained=true"]).line
    monkeypatch.setitem(sys.modules, parameters.WEIGHTS_PACKAGE, None)  # as if it were not installed
    for option in ("--pretrained", "--frozen"):
        assert run(["train", archive, option]).line.startswith(f"error: params.init: {parameters.WEIGHTS_MISSING}")
    assert served.get("/datasets").json()["data"] == []


def test_the_clients_option_is_init_imagenet(served: httpx.Client, settings: Settings, db: Database) -> None:
    dataset = ready_dataset(db, settings)
    with Client(str(served.base_url)) as client:
        assert client.jobs.create(dataset, pretrained=True, method="frozen").params == {"method": "frozen", "init": "imagenet"}
        assert client.jobs.create(dataset, pretrained=True, init="imagenet").params == {"init": "imagenet"}
        assert client.jobs.create(dataset).params == {}
        with pytest.raises(ValueError, match="init is mdl_0a; give one of the two"):
            client.jobs.create(dataset, pretrained=True, init="mdl_0a")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"path,label\r\n0.png,K\xe4fer\r\n", "row 2, column label: the byte 0xe4 is not UTF-8"),
        (b"path,label\n0.png,cat\n1.png\n", "row 3, column label: is missing"),
        (b"path,label\n0.png,cat\n1.png,cat\n0.png,dog\n", "row 4, column label: 0.png has two labels"),
        (b'path,label\n0.png,"cat\n1.png,dog\n', "row 2, column label: a quote that does not end"),
        (b"path,label,split\n0.png,cat,train\n", "row 1, column 3"),
        (b"name,kind\nx,y\n", "row 1, column 1: the first line of the CSV must be path,label"),
        ("path,label\n0.png,cat\n".encode("utf-16-le"), "row 1, column 1: NUL"),
    ],
)
def test_a_table_is_read_by_the_service_alone(
    served: httpx.Client, settings: Settings, db: Database, tmp_path: Path, table: bytes, said: str
) -> None:
    """What the API refuses the command refuses, in the same words, and no label changes."""
    dataset = ready_dataset(db, settings)
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_bytes("\ufeffpath\tlabel\r\n0.png\tKäfer\r\n1.png\tKäfer\r\n".encode("utf-16-le"))
    assert run(["datasets", "label", dataset, good]).out == "2 set, 0 removed, 0 ignored\n"
    bad.write_bytes(table)
    refused = run(["datasets", "label", dataset, bad])
    assert refused.code == 1 and said in refused.line
    answer = served.put(f"/datasets/{dataset}/labels", content=table, headers={"Content-Type": "text/csv"})
    assert answer.status_code == 422 and answer.json()["detail"] in refused.line
    images = served.get(f"/datasets/{dataset}/images").json()["data"]
    assert [image["label"] for image in images if image["label"]] == ["Käfer", "Käfer"]


def test_names_stand_for_ids_where_only_one_has_them(served: httpx.Client, settings: Settings, db: Database) -> None:
    from core.store.tables import Dataset

    ids = [ready_dataset(db, settings) for _ in range(3)]
    with db.write() as session:
        for id_, name in zip(ids, ("mine", "twice", "twice"), strict=True):
            session.get_one(Dataset, id_).name = name
    jobs = [served.post("/jobs", json={"dataset_id": ids[0], "name": name}).json()["id"] for name in ("first", "same", "same")]
    assert json.loads(run(["datasets", "show", "mine", "--json"]).out)["dataset"]["id"] == ids[0]
    assert json.loads(run(["jobs", "show", "first", "--json"]).out)["id"] == jobs[0]
    assert len(run(["jobs", "list", "--dataset", "mine", "--kind", "train"]).out.splitlines()) == 3
    for arguments, kind, several in (
        (["datasets", "show", "twice"], "datasets", ids[1:]),
        (["jobs", "cancel", "same"], "jobs", jobs[1:]),
    ):
        line = run(arguments).line
        assert line.startswith(f"error: 2 {kind} are called {arguments[-1]}; name one by its id: ")
        assert set(line.rpartition(": ")[2].split(", ")) == set(several)
    for arguments in (["datasets", "compact", "none"], ["jobs", "follow", "none"], ["models", "delete", "none"]):
        assert run(arguments).line == f"error: there is no {arguments[0][:-1]} none"


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    env = {**os.environ, "_ANCHORHOOD_COMPLETE": f"{shell}_source"}
    script = subprocess.run([sys.executable, "-m", "anchorhood"], env=env, capture_output=True, text=True, check=True).stdout
    assert f"_ANCHORHOOD_COMPLETE={shell}_complete" in script
    asked = {"COMP_WORDS": "anchorhood jobs list --kind ", "COMP_CWORD": "4" if shell != "fish" else ""}
    env |= {"_ANCHORHOOD_COMPLETE": f"{shell}_complete", **asked}
    found = subprocess.run([sys.executable, "-m", "anchorhood"], env=env, capture_output=True, text=True, check=True).stdout
    assert {"ingest", "train", "attention"} <= {word for line in found.splitlines() for word in line.replace(",", " ").split()}


# Progress


def test_progress_to_what_is_no_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from anchorhood.progress import Progress

    now = 0.0
    monkeypatch.setattr("anchorhood.progress.time.monotonic", lambda: now)
    with Progress("job_1", True) as shown:
        for number in range(100):
            now += 1.0
            shown.show(number / 100, "training")
        shown.show(1.0, "succeeded", news=True)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "job_1: 0%, training" and lines[-1] == "job_1: 100%, succeeded"
    assert len(lines) == 11
    with Progress("job_2", False) as shown:
        shown.show(0.5)
    assert capfd.readouterr().err == ""


def test_a_job_is_followed_in_lines_of_text(capfd: pytest.CaptureFixture[str]) -> None:
    import anchorhood

    job: dict[str, Any] = dict.fromkeys(anchorhood.Job.__dataclass_fields__) | {
        "id": "job_1",
        "created_at": "2026-01-01T00:00:00Z",
    }
    now = {
        "phase": "training",
        "fraction": 0.4,
        "eta_seconds": 600.0,
        "round": 1,
        "rounds": 5,
        "epoch": 2,
        "epochs": 20,
        "loss": 2.5,
    }
    states = iter([{**job, "status": "running", "progress": now}, {**job, "status": "succeeded", "progress": now}])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/events"):
            return httpx.Response(200, text=": nothing\n", headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json=next(states))

    client = Client("http://service")
    client.transport.http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    assert client.jobs.follow("job_1", progress=True).status == "succeeded"
    assert capfd.readouterr().err.splitlines() == [
        "job_1: 40%, training, round 2 of 5, epoch 3 of 20, loss 2.50, 10 min left",
        "job_1: 100%, training, round 2 of 5, epoch 3 of 20, loss 2.50",
    ]
