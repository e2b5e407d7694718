"""Every command that README, CONTRIBUTING and docs name is run at tiny size, or stands in a table with the reason why not.

Those of the README's code blocks are run by test_readme.py, benchmarks by tests/benchmarks, and the rest here. A new command that
nothing runs fails ``test_every_command_is_run_or_has_a_reason``.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import compare
from benchmarks.accuracy import __main__ as accuracy
from benchmarks.method import __main__ as method
from tests.conftest import image_bytes, picture_zip
from tests.e2e.documented import ROOT, commands, every_command
from tests.live import Live

PROGRAM = [sys.executable, "-m", "anchorhood"]
SHORT = [f"--param={each}" for each in ("rounds=2", "epochs_first=1", "epochs=1", "dim=8", "batch_size=16")]
# What cannot run here offline, by how it begins.
REASONS = {
    "docker ": "needs a container engine: make test-compose",
    "export KEY=$(docker ": "needs a container engine: make test-compose",
    'curl -H "Authorization: Bearer $KEY"': "asks those containers; the same without a key is in the README",
    "pip install": "needs the network",
    '.venv/bin/python -c "from torchvision.datasets import ImageNet': "needs ImageNet's archives",
    "tar -x": "unpacks what has to be downloaded",
    ".venv/bin/python -m trainer fetch": "needs the network",
    "bash .ci/run": "runs this test",
    "anchorhood --url http://host:8000 --key": "a form, which every command below that asks a service has",
    "anchorhood keys create NAME --scope read|write|admin": "a form; tests/service/middleware/test_auth.py has each scope",
    "anchorhood serve": "tests/live.py starts it",
    "anchorhood api": "tests/servers.py starts it",
    "anchorhood worker": "tests/servers.py starts it",
    "anchorhood demo": "tests/e2e/test_demo.py",
    "torchrun --nproc-per-node 4 -m trainer run …": "a form; the README's is run",
    "python -m trainer evaluate … --plot": "a form; docs/reproduction.md's is run",
    "python -m trainer run": "a form; the README's is run",
    "python -m trainer": "a name",
}
# Commands of ``anchorhood`` as documented, in an order in which they can be run, and with what; {…} is filled in. The first
# table's have a data folder of their own, the second's ask a running service.
ALONE = {
    "--help": "--help",
    "COMMAND --help": "train --help",
    "--version": "--version",
    "migrate": "migrate",
    "keys create NAME --scope read": "keys create NAME --scope read",
    "keys create laptop --scope write": "keys create laptop --scope write",
    "keys list": "keys list",
    "keys revoke KEY": "keys revoke NAME",
    "keys revoke ID": "keys revoke laptop",
    "secrets FOLDER": "secrets secrets",
}
SERVED = {
    "datasets upload PATH": "datasets upload photos.zip --labels folders",
    "datasets list": "datasets list",
    "datasets show DATASET": "datasets show photos.zip",
    "datasets add DATASET PATH": "datasets add photos.zip query.jpg",
    "datasets label DATASET TABLE": "datasets label photos.zip labels.csv",
    "datasets update DATASET": "datasets update photos.zip --name mine",
    "train PATH": "train photos/ --name second --labels folders",
    "jobs list": "jobs list",
    "jobs show JOB": "jobs show {job}",
    "jobs follow JOB": "jobs follow {job}",
    "models list": "models list",
    "models use DATASET MODEL": "models use {dataset} {model}",
    "neighbours IMAGE": "neighbours query.jpg --dataset {dataset}",
    "classify IMAGE…": "classify query.jpg --dataset {dataset}",
    "attention IMAGE --out FILE": "attention {image} --out attention.png",
    "export DATASET --out FILE": "export {dataset} --out embeddings.npz",
    "evaluate DATASET": "evaluate {dataset}",
    "jobs continue JOB": "jobs continue {job} --add-rounds 1",
    "jobs cancel JOB": "jobs cancel {longer}",
    "datasets compact DATASET": "datasets compact {dataset}",
    "audit": "audit",
    "audit --since 2026-11-28 --action delete_dataset": "audit --since 2026-11-28 --action delete_dataset",
    "audit --on ds_3f9c0e2b7a61d845 --last 1000": "audit --on {dataset} --last 1000",
    "datasets delete DATASET": "datasets delete mine --yes",
    "models delete MODEL": "models delete {older}",
    "backup TARGET": "backup backups/monday",
    "backup /backups/monday": "backup backups/tuesday",
    "doctor": "doctor",
}
RESTORED = {"restore SOURCE": "restore backups/monday", "restore /backups/monday": "restore backups/tuesday"}
OF_ANCHORHOOD = (*ALONE, *SERVED, *RESTORED)
COMPLETION = r"_ANCHORHOOD_COMPLETE=fish_source anchorhood \| source"
# Programs that the Makefile names, and what runs each of them.
TARGETS = {
    **dict.fromkeys(("setup", "check", "sbom", "test", "test-slow", "test-browser", "chaos"), ".ci/run"),
    "lock": "tests/test_shipped.py compares what it writes",
    "pin": "tests/test_shipped.py, with a registry of its own",
    "demo": "tests/e2e/test_demo.py",
    "serve": "tests/live.py",
    "migrate": "here",
    "openapi": "tests/test_drift.py compares what it writes",
    "screenshots": "needs half an hour of two cores; tests/browser looks at the same pages",
    "test-compose": "needs a container engine",
    **dict.fromkeys(
        ("bench-trainer", "bench-gpu", "bench-method", "bench-accuracy", "bench-compare", "bench-service"), "tests/benchmarks"
    ),
    **dict.fromkeys(("bench-augment", "bench-hostile", "bench-page", "bench-progress"), "tests/benchmarks"),
}
REPRODUCTION = [each for each in commands("docs/reproduction.md") if not each.startswith(tuple(REASONS))]
README = commands("README.md")
PROGRAMS = {"accuracy": accuracy.main, "compare": compare.main, "method": method.main}
_NAMES = "|".join(PROGRAMS)
BENCHMARK = re.compile(rf"(?:\.venv/bin/)?python -m benchmarks\.({_NAMES})(.*)|ONLY=(\w+) make bench-({_NAMES})")


def how(command: str) -> str | None:
    """What runs a command, or why nothing does; ``None`` where neither is known."""
    if command in README:
        return "tests/e2e/test_readme.py"
    if target := re.fullmatch(r"make ([a-z-]+)(?: MINUTES=\d+)?", command):
        return TARGETS.get(target.group(1))
    if BENCHMARK.fullmatch(command):
        return "test_parts_of_benchmarks_are_there"
    if command in (*REPRODUCTION, COMPLETION, "python -m anchorhood"):
        return "here"
    name = command.removeprefix("anchorhood ")
    if name != command and (name in OF_ANCHORHOOD or any(each.startswith(f"{name} ") for each in OF_ANCHORHOOD)):
        return "here"
    return next((reason for start, reason in REASONS.items() if command.startswith(start)), None)


def test_every_command_is_run_or_has_a_reason() -> None:
    assert not [command for command in every_command() if how(command) is None]
    known = every_command()
    assert not [name for name in (*ALONE, *SERVED, *RESTORED) if f"anchorhood {name}" not in known], "no longer documented"
    assert not [start for start in REASONS if not any(command.startswith(start) for command in known)], "no longer documented"


def test_every_target_of_the_makefile_is_run_by_something() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert set(phony.split()) == set(TARGETS)
    for target in TARGETS:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
    called = {each.split(".")[0] for each in re.findall(r"python -m benchmarks\.([a-z.]+)", text)}
    assert called == {target.removeprefix("bench-") for target in TARGETS if target.startswith("bench-")}
    gate = (ROOT / ".ci/run").read_text()
    assert all(re.search(rf"^make {target}\b", gate, re.MULTILINE) for target, by in TARGETS.items() if by == ".ci/run")


def run(arguments: list[str], place: Path, **env: str) -> str:
    whole = {**os.environ, **env}
    done = subprocess.run(arguments, cwd=place, env=whole, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name."""
    folder = tmp_path_factory.mktemp("documented")
    archive = picture_zip(folder / "photos.zip", 40, classes=4, side=32)
    shutil.unpack_archive(archive, folder / "photos")
    (folder / "query.jpg").write_bytes(image_bytes(900, side=40, format="JPEG"))
    (folder / "labels.csv").write_text("path,label\nclass-0/0000.png,zero\n")
    for name, first in (("train", 0), ("test", 500)):
        for at in (folder / "sets", folder / "shared/data"):
            at.mkdir(parents=True, exist_ok=True)
            picture_zip(at / f"cifar10-{name}.zip", 40, classes=4, side=32, first=first)
            clothes = at / f"clothing-small-{'val' if first else 'train'}.zip"
            shutil.copy(at / f"cifar10-{name}.zip", clothes)
    for name in ("sets/imagenet/train", "CUB_200_2011/images", "Images"):
        shutil.unpack_archive(archive, folder / "unpacked" / name)
    test = folder / "sets/cifar10-test.zip"
    shutil.unpack_archive(test, folder / "unpacked/sets/imagenet/val")
    (folder / "backups").mkdir()
    return folder


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    system = Live(tmp_path_factory.mktemp("documented-live") / "data").start()
    yield system
    system.close()


@pytest.mark.slow
def test_commands_of_this_machine(place: Path) -> None:
    env = {"ANCHORHOOD_DATA_DIR": str(place / "alone")}
    for arguments in ALONE.values():
        said = run([*PROGRAM, *shlex.split(arguments)], place, **env)
        assert said or arguments == "migrate"
    assert "complete" in run(PROGRAM, place, _ANCHORHOOD_COMPLETE="fish_source")


@pytest.mark.slow
def test_commands_that_ask_a_service(live: Live, place: Path) -> None:
    known: dict[str, str] = {}
    env = {**live.env, "ANCHORHOOD_URL": str(live.client.base_url)}
    for name, arguments in SERVED.items():
        run([*PROGRAM, *shlex.split(arguments.format(**known)), *(SHORT if name == "train PATH" else [])], place, **env)
        jobs = [job for job in live.get("/jobs?kind=train")["data"] if job["kind"] == "train"]
        if name == "train PATH":
            dataset = next(one for one in live.get("/datasets")["data"] if one["name"] != "mine")
            image = live.get(f"/datasets/{dataset['id']}/images?limit=1")["data"][0]["id"]
            known = {"job": jobs[0]["id"], "dataset": dataset["id"], "model": dataset["model_id"], "image": str(image)}
        if name == "jobs continue JOB":
            known["longer"] = max(job["id"] for job in jobs if job["id"] != known["job"])
        if name == "jobs cancel JOB":  # another model, so that one is not the current one
            known["older"] = known["model"]
            job = live.finished(live.train(known["dataset"], rounds=1))
            assert job["status"] == "succeeded"
    assert (place / "embeddings.npz").exists() and (place / "attention.png").exists()
    for arguments in RESTORED.values():
        restored = {**env, "ANCHORHOOD_DATA_DIR": str(place / arguments.rpartition("/")[2])}
        run([*PROGRAM, *shlex.split(arguments)], place, **restored)
        assert (place / arguments.rpartition("/")[2] / "anchorhood.sqlite3").exists()


@pytest.mark.slow
def test_the_page_on_reproduction(place: Path) -> None:
    work = place / "unpacked"
    for path in (place / "sets").iterdir():
        path.rename(work / "sets" / path.name)
    smaller = "--rounds 2 --epochs-first 1 --epochs 1 --dim 16 --batch-size 16 --device cpu"
    tiny = f"{smaller} --backbone resnet10 --image-size 16"
    for example in REPRODUCTION:
        command = example.replace(".venv/bin/python", sys.executable)
        torchrun = f"{sys.executable} -m torch.distributed.run --nproc-per-node 2"
        command = re.sub(r"\.venv/bin/torchrun --nproc-per-node \d", torchrun, command)
        command = re.sub(r"head -\d+", "head -2", command)
        if " run " in example:
            out = re.search(r"--out (\S+)", example)
            assert out
            shutil.rmtree(work / out.group(1), ignore_errors=True)
            command += f" {smaller if '--init' in example else tiny}"
        if "made_classes" in example:
            command += " --kinds 4 --images 10 --side 16"
        run(["bash", "-o", "pipefail", "-c", command], work, PYTHONPATH=str(ROOT))
    for each in ("cifar10", "imagenet", "cub", "dogs", "clothing", "pretrained", "made"):
        assert (work / f"runs/{each}/model/encoder.onnx").exists(), each


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in every_command() if BENCHMARK.fullmatch(each)])
def test_parts_of_benchmarks_are_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They would take hours; ``--show`` reads what there is, and refuses a part that does not exist."""
    found = BENCHMARK.fullmatch(command)
    assert found
    program, options, only, target = found.groups()
    arguments = shlex.split(options) if program else ["--only", only]
    show = [] if "--show" in arguments else ["--show"]
    PROGRAMS[program or target]([*arguments, *show, "--work", str(tmp_path)])
    assert capsys.readouterr().out.splitlines()[-1].startswith("{")
