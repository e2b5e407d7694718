"""``anchorhood doctor``: looks at this installation and says what to do about what is wrong."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from core.errors import BadSettings
from core.files import manifest
from core.ground import parameters
from core.jobs.bell import Bell, make_app
from core.settings import Settings
from core.store import keys, migrate, pools
from core.store.db import Database
from core.store.tables import Model
from core.untrusted.decoding import Decoders
from service.middleware.local import is_loopback

_MEASURES = {"filter": "behind a filter of system calls", "limits": "with no further file", "user": "as nobody"}
_LITTLE_DISK = 2 << 30  # bytes; a training job of some size needs about that
_DEVICE = """
import torch
from trainer.resolve import gains_from_bfloat16
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
print(f"torch {torch.__version__}, {device.type} ({name}), trains in {'bfloat16' if gains_from_bfloat16(device) else 'float32'}")
"""


class Finding(NamedTuple):
    """One check: ``state`` is ``ok``, ``warning`` or ``wrong``; ``advice`` says what to do."""

    check: str
    state: str
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Every check, in the order in which one should mend what is wrong."""
    checks: tuple[tuple[str, Callable[[Settings], Finding]], ...] = (
        ("installation", _installation),
        ("device", _device),
        ("pretrained", _pretrained),
        ("data folder", _disk),
        ("database", _database),
        ("broker", _broker),
        ("API keys", _keys),
        ("decoders", _decoders),
        ("published files", _published),
    )
    findings = []
    for name, check in checks:
        try:
            findings.append(check(settings))
        except Exception as error:  # a check that breaks is a finding, too
            findings.append(Finding(name, "wrong", f"{type(error).__name__}: {error}", "see docs/operations.md"))
    return findings


def _installation(_: Settings) -> Finding:
    faiss = [name for name in ("faiss-cpu", "faiss-gpu") if _installed(name)]
    found = f"anchorhood {version('anchorhood')}, Python {sys.version.split()[0]}, {', '.join(faiss) or 'no faiss'}"
    if len(faiss) != 1:
        return Finding("installation", "wrong", found, "install exactly one of the extras cpu and gpu")
    return Finding("installation", "ok", found)


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _device(settings: Settings) -> Finding:
    if not _installed("torch"):
        return Finding("device", "warning", "no torch", "fine for an API alone; a training worker needs the extra train")
    done = subprocess.run([sys.executable, "-c", _DEVICE], capture_output=True, text=True, check=False)
    if done.returncode:
        return Finding(
            "device", "wrong", done.stderr.strip().splitlines()[-1], "reinstall torch and torchvision that fit each other"
        )
    found = done.stdout.strip()
    if settings.device.startswith("cuda") and "cuda" not in found:
        return Finding("device", "wrong", found, f"ANCHORHOOD_DEVICE is {settings.device}; install the GPU's driver, or set cpu")
    return Finding("device", "ok", found)


def _pretrained(_: Settings) -> Finding:
    file = parameters.weights_file()
    if file is None:
        return Finding("pretrained", "warning", "no weights for init=imagenet", parameters.WEIGHTS_MISSING)
    return Finding("pretrained", "ok", f"{file.name} for init=imagenet")


def _disk(settings: Settings) -> Finding:
    folder = settings.layout.processes
    probe = folder / "doctor"
    try:
        probe.write_bytes(b"written")
        probe.unlink()
    except OSError as error:
        return Finding(
            "data folder", "wrong", f"{settings.root}: {error.strerror}", "let this user write there, or set ANCHORHOOD_DATA_DIR"
        )
    free = shutil.disk_usage(folder).free
    found = f"{settings.root}: {free / 2**30:,.1f} GiB free"
    if free < _LITTLE_DISK:
        return Finding("data folder", "warning", found, "make room: delete datasets or models that nobody needs")
    return Finding("data folder", "ok", found)


def _database(settings: Settings) -> Finding:
    try:
        with Database(settings.database) as db, db.engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            shortage = pools.shortage(db, settings.api_processes)
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", error)).splitlines()[0]
        return Finding("database", "wrong", cause, "start it, or set ANCHORHOOD_DATABASE_URL")
    newest = ScriptDirectory.from_config(migrate.config(settings.database)).get_current_head()
    found = f"{db.url.get_backend_name()}, schema {revision or 'missing'}"
    if revision != newest:
        return Finding("database", "wrong", found, f"run: anchorhood migrate (to {newest})")
    if shortage:
        return Finding("database", "warning", found, shortage)
    return Finding("database", "ok", found)


def _broker(settings: Settings) -> Finding:
    if Bell(make_app(settings)).answers():
        return Finding("broker", "ok", "answers")
    if not settings.broker_url:
        return Finding("broker", "warning", "the embedded one is not running", "run: anchorhood serve")
    return Finding("broker", "wrong", "does not answer", "start Redis, or set ANCHORHOOD_BROKER_URL")


def _keys(settings: Settings) -> Finding:
    try:
        with Database(settings.database) as db:
            required = keys.required(db)
    except SQLAlchemyError:
        return Finding("API keys", "warning", "unknown without the database")
    if required:
        return Finding("API keys", "ok", "every request needs one")
    if is_loopback(settings.host):
        return Finding("API keys", "ok", "none: this machine alone is served")
    return Finding(
        "API keys", "wrong", f"none, and ANCHORHOOD_HOST is {settings.host}", "run: anchorhood keys create NAME --scope admin"
    )


def _decoders(settings: Settings) -> Finding:
    with Decoders(settings) as decoders:
        missing = {name: why for name, why in decoders.confinement().items() if why}
    held = ", ".join(words for name, words in _MEASURES.items() if name not in missing)
    found = f"pictures are decoded {held or 'without any of the measures'}"
    if "filter" in missing:
        return Finding("decoders", "warning", found, f"no filter of system calls: {missing['filter']}")
    return Finding("decoders", "ok", found)  # behind the filter no other user is needed


def _published(settings: Settings) -> Finding:
    try:
        with Database(settings.database) as db, db.read() as session:
            models = session.execute(select(Model.id, Model.directory)).all()
    except SQLAlchemyError:
        return Finding("published files", "warning", "unknown without the database")
    damaged = []
    for model_id, directory in models:
        try:
            manifest.read(settings.layout.model(directory), hashes=True)
        except manifest.DamagedModel as error:
            damaged.append(f"{model_id}: {error}")
    if damaged:
        return Finding("published files", "wrong", "; ".join(damaged), "restore them from a backup, or delete the model")
    return Finding("published files", "ok", f"{len(models):,} models, every file with its published hash")


def run() -> tuple[list[Finding], dict[str, Any]]:
    """Examine what the environment describes; a setting that is not allowed is a finding."""
    try:
        findings = examine(Settings.load())
    except BadSettings as error:
        findings = [Finding("settings", "wrong", str(error), "docs/settings.md has what is allowed")]
    return findings, {"ok": all(finding.state != "wrong" for finding in findings), "checks": [f._asdict() for f in findings]}
