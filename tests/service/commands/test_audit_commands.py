"""The audit trail at the command line and in the client, and what commands of the operator leave in it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from anchorhood import Client
from anchorhood.commands.main import commands
from core.settings import Settings
from core.store.db import Database
from tests.service.serving import ready_dataset, serving


def ran(*arguments: str) -> Any:
    result = CliRunner().invoke(commands, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_commands_that_write_leave_lines(
    settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANCHORHOOD_DATA_DIR", str(settings.root))
    monkeypatch.setenv("ANCHORHOOD_DATABASE_URL", db.url.render_as_string(hide_password=False))
    file = tmp_path / "key"
    admin = ran("keys", "create", "me", "--scope", "admin")
    file.write_text(admin["key"])
    ran("keys", "create", "me", "--scope", "admin", "--key-file", str(file))  # valid already: nothing is done
    other = ran("keys", "create", "other", "--scope", "read")
    ran("keys", "revoke", "other")
    saved = ran("backup", str(tmp_path / "saved"))
    dataset = ready_dataset(db, settings)
    with serving(settings, db) as client:
        monkeypatch.setenv("ANCHORHOOD_URL", str(client.base_url))
        monkeypatch.setenv("ANCHORHOOD_KEY", admin["key"])
        ran("datasets", "update", dataset, "--name", "shoes")
        lines = ran("audit")
        only = ran("audit", "--on", other["id"], "--last", "1")
        shown = CliRunner().invoke(commands, ["audit", "--action", "change_dataset"]).stdout.split()
        with Client(str(client.base_url), admin["key"]) as ours:
            assert [line.action for line in ours.audit(order="oldest", key=admin["id"])] == ["change_dataset"]
            assert next(ours.audit(since=next(ours.audit()).created_at)).objects == [dataset]
    assert [(line["action"], line["objects"], line["status"]) for line in lines] == [
        ("change_dataset", [dataset], 200),
        ("backup", [saved["created_at"]], None),
        ("keys revoke", [other["id"]], None),
        ("keys create", [other["id"]], None),
        ("keys create", [admin["id"]], None),
    ]
    assert all("@" in line["address"] for line in lines[1:])
    assert only == [lines[2]]
    assert shown[2:] == [admin["id"], "127.0.0.1", "200", "change_dataset", dataset]
