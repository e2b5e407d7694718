"""What the images install: that it is what pyproject.toml asks for, with a hash for each file, and what is known of it."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.drift
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / ".ci"))
import audit  # noqa: E402
import locked  # noqa: E402
import sbom  # noqa: E402

LISTS = sorted(path.stem for path in (ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"": "common", "server": "common", "heif": "common", "pretrained": "common"}
EXTRAS |= {"cpu": "faiss-cpu", "gpu": "faiss-gpu", "train": "train"}


def constrained() -> dict[str, set[str]]:
    lines = [line.partition(" ;")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    found: dict[str, set[str]] = {}
    for name, _, version in (line.partition("==") for line in lines):
        found.setdefault(canonicalize_name(name), set()).add(version)
    return found


@pytest.mark.parametrize("name", LISTS)
def test_the_lock_has_the_versions_of_constraints(name: str) -> None:
    known = constrained()
    for each in locked.requirements(name):
        version = str(each.specifier).removeprefix("==").partition("+")[0]
        assert version in known.get(canonicalize_name(each.name), ()), f"{each}: run make lock"


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_lock_has_what_pyproject_asks_for(extra: str) -> None:
    lists = ("common", EXTRAS[extra], "torch-cuda")
    found = {canonicalize_name(each.name): each.specifier for name in lists for each in locked.requirements(name)}
    for wanted in map(Requirement, PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]):
        version = str(found.get(canonicalize_name(wanted.name), "nothing")).removeprefix("==")
        assert version in wanted.specifier, f"{wanted}: the lock has {version}; run make lock"


@pytest.mark.parametrize("name", LISTS)
def test_every_package_has_hashes(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked.requirements(name)) > 0
    assert not [block for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)]


def test_the_images_install_nothing_without_a_hash() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    installs = [line for line in re.findall(r"pip install.*", text) if "--editable ." not in line]
    assert len(installs) == 3
    assert all("--require-hashes --no-deps --only-binary :all:" in line for line in installs)
    assert "--no-build-isolation --no-index" in text


def advisory(folder: Path, name: str, **ranges: str) -> Path:
    path = folder / "vulns" / name / "PYSEC-2026-1.yaml"
    path.parent.mkdir(parents=True)
    events = "".join(f"    - {kind}: '{version}'\n" for kind, version in ranges.items())
    path.write_text(
        f"id: PYSEC-2026-1\npublished: '2026-01-02T03:04:05Z'\naffected:\n- package: {{name: {name}, ecosystem: PyPI}}\n"
        f"  ranges:\n  - type: ECOSYSTEM\n    events:\n{events}"
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "code"), [("999", 1), ("0.1", 0)])
def test_a_known_vulnerability_fails_the_check(fixed: str, code: int, tmp_path: Path) -> None:
    copy = advisory(tmp_path, "pillow", introduced="0", fixed=fixed)
    env = {**os.environ, "ADVISORIES": str(copy)}
    done = subprocess.run([sys.executable, ROOT / ".ci/audit.py"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("PYSEC-2026-1" in done.stdout) == bool(code) and "newest record is 2026-01-02" in done.stdout


def test_where_nothing_can_be_looked_up_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ADVISORIES", raising=False)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    audit.main()
    assert "were NOT looked up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "events", "inside"),
    [
        ("2.0", [{"introduced": "0"}], True),
        ("2.0", [{"introduced": "0"}, {"fixed": "2.0"}], False),
        ("2.0", [{"introduced": "1"}, {"last_affected": "2.0"}], True),
        ("1.10", [{"introduced": "1.9"}, {"fixed": "1.11"}], True),
        ("3.0", [{"introduced": "0"}, {"fixed": "1"}, {"introduced": "3.0"}], True),
    ],
)
def test_what_a_record_affects(version: str, events: list[dict[str, str]], inside: bool) -> None:
    record = {"affected": [{"package": {"name": "Some"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]}
    assert audit.affects(record, "some", version) == inside
    assert not audit.affects({**record, "withdrawn": "2026-01-01"}, "some", version)


def test_a_bill_of_materials_has_the_image_alone_and_in_its_versions() -> None:
    parts = [{"name": "In_It", "version": "1", "bom-ref": "a"}, {"name": "dev", "version": "1", "bom-ref": "b"}]
    document = {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": parts,
        "dependencies": [{"ref": "a", "dependsOn": ["b"]}, {"ref": "b"}],
    }
    found = sbom.only(document, {"in-it": "1"})
    assert found["components"] == parts[:1] and found["dependencies"] == [{"ref": "a", "dependsOn": []}]
    for wrong in ({"in-it": "2"}, {"missing": "1"}):
        with pytest.raises(SystemExit, match="not installed here as in the image"):
            sbom.only(document, wrong)


def test_base_images_are_pinned_by_the_digest_that_the_registry_says(tmp_path: Path) -> None:
    for name in ("Dockerfile", "docker-compose.yml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    answer = tmp_path / "docker"
    for digit in "ab":  # a second time goes on to a newer one
        answer.write_text(f"#!/bin/sh\necho sha256:{digit * 64}\n")
        answer.chmod(0o755)
        env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run([ROOT / ".ci/pin", tmp_path], env=env, check=True, capture_output=True)
        texts = (tmp_path / "Dockerfile").read_text() + (tmp_path / "docker-compose.yml").read_text()
        assert re.findall(r"(\w+):\S+@sha256:(\w)\w{63}$", texts, re.MULTILINE) == [
            (name, digit) for name in ("python", "postgres", "redis")
        ]
    answer.write_text("#!/bin/sh\necho nonsense\n")
    assert subprocess.run([ROOT / ".ci/pin", tmp_path], env=env, check=False, capture_output=True).returncode == 1
