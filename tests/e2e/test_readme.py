"""Every example of the README is run as it stands there, but for names, ports and the length of training."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import image_bytes, picture_zip
from tests.e2e.documented import ROOT, blocks, commands
from tests.live import Live

pytestmark = pytest.mark.slow
SHORT = "--rounds 2 --epochs-first 1 --epochs 1 --dim 16 --batch-size 16"
PREFIXES = ("curl ", ".venv/bin/python -m trainer ", ".venv/bin/torchrun ", ".venv/bin/anchorhood ", "make ", "DATA=")


EXAMPLES = commands("README.md")


def test_every_example_is_of_a_kind_that_is_run() -> None:
    assert all(example.startswith(PREFIXES) for example in EXAMPLES)
    assert {prefix for prefix in PREFIXES for example in EXAMPLES if example.startswith(prefix)} == set(PREFIXES)
    makefile = (ROOT / "Makefile").read_text()
    for example in EXAMPLES:  # the demo itself is run by tests/e2e/test_demo.py
        if target := re.search(r"\bmake ([a-z-]+)", example):
            assert f"\n{target.group(1)}: setup" in makefile


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("readme")
    archive = picture_zip(folder / "photos.zip", 40, classes=4, side=32)
    shutil.unpack_archive(archive, folder / "photos")
    (folder / "photos/cats").mkdir()
    (folder / "photos/cats/1.jpg").write_bytes(image_bytes(901, side=32, format="JPEG"))
    (folder / "query.jpg").write_bytes(image_bytes(900, side=40, format="JPEG"))
    (folder / "labels.csv").write_text("path,label\nclass-0/0000.png,zero\nclass-1/0001.png,\n")
    return folder


def run(command: str, place: Path) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    system = Live(tmp_path_factory.mktemp("readme-live") / "data").start()
    yield system
    system.close()


def test_the_examples_of_the_service(live: Live, place: Path) -> None:
    dataset = job = ""
    for example in [line for line in EXAMPLES if line.startswith("curl ")]:
        command = example.replace("localhost:8000", f"localhost:{live.port}").replace("ds_…", dataset).replace("job_…", job)
        command = command.replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        if "/jobs" in command and "--json" in command:
            command = command.replace('"imagenet"}', '"imagenet", "rounds": 2, "epochs": 1, "dim": 16}')
        answer = run(command, place)
        if match := re.search(r'"id":"(ds_\w+)"', answer):
            dataset = match.group(1)
        if "/jobs" in command and "--json" in command:
            found = re.search(r'"id":"(job_\w+)"', answer)
            assert found
            job = found.group(1)
    assert dataset and job
    assert live.get(f"/jobs/{job}")["status"] == "succeeded"


def test_the_examples_of_the_terminal_and_of_python(live: Live, place: Path) -> None:
    url, bin_ = f"http://127.0.0.1:{live.port}", Path(sys.executable).parent
    settings = " ".join(f"{name}={value}" for name, value in live.env.items())
    short = " ".join(f"--param {name}" for name in ("rounds=2", "epochs_first=1", "epochs=1", "dim=16", "batch_size=16"))
    dataset = live.get("/datasets")["data"][0]["id"]  # beside that of the examples before, so that it has to be named
    for example in [line for line in EXAMPLES if line.startswith(".venv/bin/anchorhood ")]:
        command = example.replace(".venv/bin/anchorhood", f"{settings} {bin_}/anchorhood --url {url}")
        command += f" {short}" if " train " in command else f" --dataset {dataset}" if " neighbours " in command else ""
        run(command, place)
    assert (place / "model" / "encoder.onnx").exists()
    for code in [*blocks("README.md", "python"), *blocks("docs/python.md", "python")]:
        shorter = "pretrained=True, rounds=2, epochs=1, dim=16, batch_size=16"
        code = code.replace("http://127.0.0.1:8000", url).replace("pretrained=True", shorter)
        done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 5


def test_the_encoder_page(live: Live, place: Path) -> None:
    (model,) = [dataset["model_id"] for dataset in live.get("/datasets")["data"] if dataset["name"] == "photos.zip"]
    (place / "encoder.onnx").write_bytes(live.client.get(f"/models/{model}/files/encoder.onnx").content)
    (place / "embeddings.npz").write_bytes(live.client.get(f"/models/{model}/embeddings").content)
    (code,) = blocks("docs/encoder.md", "python")
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.findall(r"'([^']+)'", done.stdout)
    assert len(set(found)) == 10
    assert found[0] == "query.jpg"  # an example above added it to the collection


def test_the_examples_of_the_trainer(place: Path) -> None:
    data = ROOT.parent / "shared/data"
    for example in [line for line in EXAMPLES if line.startswith(PREFIXES[1:3])]:
        if "../shared/data" in example and not data.exists():
            continue
        command = example.replace(".venv/bin/", f"{Path(sys.executable).parent}/").replace("../shared/data", str(data))
        if " run " in command and "--resume" not in command:
            command += f" {SHORT}"
        if "torchrun" in command:  # an example for several GPUs; another folder, since this one holds a finished run
            command = command.replace("runs/photos", "runs/several") + " --device cpu"
        run(command.replace("docs/consistency.png", "consistency.png"), place)
    for name in ("photos", "several"):
        assert (place / "runs" / name / "model" / "encoder.onnx").exists()
