"""What is generated or documented must say what the code says."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from alembic import command

from core.ground.parameters import PARAMETERS
from core.settings import Settings
from core.store import migrate
from core.store.db import Database
from service.app import create_app
from service.openapi import document
from trainer.config import TrainConfig
from trainer.presets import PRESETS
from trainer.resolve import resolve

pytestmark = pytest.mark.drift
ROOT = Path(__file__).parent.parent


def test_migrations_make_the_tables_of_the_models(db: Database) -> None:
    command.check(migrate.config(db.url.render_as_string(hide_password=False)))


def test_migrations_go_down_and_up_again(db: Database) -> None:
    config = migrate.config(db.url.render_as_string(hide_password=False))
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    command.check(config)


def test_the_openapi_document_is_current() -> None:
    assert (ROOT / "docs/openapi.json").read_text() == document(), "run: make openapi"


def operations() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in json.loads(document())["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_has_a_name_of_its_own() -> None:
    names = {name: operation["operationId"] for name, operation in operations()}
    assert len(set(names.values())) == len(names)
    assert not [name for name in names if name.startswith("HEAD")]
    for name in names.values():
        assert re.fullmatch("[a-z]+(_[a-z]+)+", name), f"{name}: a verb and what it is about, as in list_datasets"


def test_every_operation_has_examples_that_fit() -> None:
    components = json.loads(document())["components"]
    for name, operation in operations():
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        shown = 0
        for body, kind, content in ((body, *item) for body, of in bodies.items() for item in of.get("content", {}).items()):
            if "schema" in content or kind.startswith("text/"):
                examples = [content["example"]] if "example" in content else [e["value"] for e in content["examples"].values()]
                assert examples, f"service/examples.py: {name} has none of its {body} as {kind}"
                fits = jsonschema_rs.validator_for({**content.get("schema", {}), "components": components})
                for given in examples:
                    wrong = [f"{'/'.join(map(str, e.instance_path))}: {e.message}" for e in fits.iter_errors(given)]
                    assert not wrong, f"service/examples.py: the {body} of {name} as {kind}: {wrong}"
                    shown += body == "request" or body.startswith("2")
        for parameter in operation.get("parameters", []):
            given = parameter.get("example", parameter["schema"].get("example"))
            if parameter["required"]:
                assert jsonschema_rs.is_valid(parameter["schema"], given), f"{name}: {parameter['name']}"
                shown += 1
        assert shown or set(bodies) >= {"204"}, f"service/examples.py: {name}"


def test_every_route_is_in_the_readme_or_the_api_page() -> None:
    text = (ROOT / "docs/api.md").read_text()
    for path, methods in create_app(Settings.load()).openapi()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in text, f"docs/api.md lacks {method.upper()} {path}"


def test_every_setting_is_documented() -> None:
    text = (ROOT / "docs/settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"`ANCHORHOOD_{name.upper()}`" in text
        assert (field.description or "") in text, f"docs/settings.md: {name} is not described as in core/settings.py"


def test_every_training_parameter_is_documented() -> None:
    text = (ROOT / "docs/presets.md").read_text()
    for name in PARAMETERS:
        assert f"| `{name}` |" in text, f"docs/presets.md lacks {name}"


def table(heads: str) -> list[list[str]]:
    """The cells of the table in docs/presets.md whose first line begins so."""
    text = (ROOT / "docs/presets.md").read_text().partition(heads)[2]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in text.split("\n\n")[0].splitlines()[2:]]


def said(cell: str, value: object) -> bool:
    """Whether a cell of a table says a parameter's value."""
    if value is None:
        return cell.startswith("from ")
    if isinstance(value, str | bool):
        return cell == str(value).lower()
    values = value if isinstance(value, tuple) else (value,)
    return [float(part) for part in cell.split(", ")] == list(values)


@pytest.mark.parametrize("row", table("| name |"), ids=lambda row: str(row[0]))
def test_the_table_of_presets_says_what_they_are(row: list[str]) -> None:
    name, *cells, allowed, _ = row
    name = name.strip("`")
    if name != "preset":
        for preset, cell in zip(PRESETS, cells, strict=True):
            value = getattr(TrainConfig.make({"preset": preset}), name)
            assert said(cell, value), f"docs/presets.md: {name} of {preset} is {value}"
    parameter = PARAMETERS[name]
    if parameter.choices:
        assert allowed == parameter.allowed
    if parameter.bounds:
        assert tuple(float(bound.replace(",", "")) for bound in allowed.split(" to ")) == parameter.bounds


def test_the_table_of_starts_says_what_init_changes() -> None:
    changes = {
        preset: {
            name: value
            for name, value in vars(TrainConfig.make({"preset": preset, "init": "imagenet"})).items()
            if value != getattr(TrainConfig.make({"preset": preset}), name) and name != "init"
        }
        for preset in ("quick", "best")
    }
    rows = {name.strip("`"): cells for name, *cells in table("| with `init` |")}
    assert set(rows) == {name for changed in changes.values() for name in changed}, f"docs/presets.md: init changes {changes}"
    for name, cells in rows.items():
        for preset, cell in zip(changes, cells, strict=True):
            value = getattr(TrainConfig.make({"preset": preset, "init": "imagenet"}), name)
            assert said(cell, value), f"docs/presets.md: with init {name} of {preset} is {value}"
    text = (ROOT / "docs/presets.md").read_text()
    rules = re.findall(r"are one in (\d+) of the images, at most (\d+)", " ".join(text.split()))
    for init, (share, most) in zip(("random", "imagenet"), rules, strict=True):
        for count in (20, 1000, 100_000):
            chosen = resolve(TrainConfig.make({"preset": "quick", "init": init, "device": "cpu"}), count, 128).neighbours
            assert chosen == min(int(most), max(1, count // int(share)))
    assert vars(TrainConfig.make({"preset": "paper", "init": "imagenet"})) == {
        **vars(TrainConfig.make({"preset": "paper"})),
        "init": "imagenet",
    }


def test_the_images_hold_every_package_and_its_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {*project["tool"]["mypy"]["packages"]} - {"benchmarks"}
    assert packages <= {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert f"ARG VERSION={project['project']['version']}\n" in (ROOT / "Dockerfile").read_text()


def test_no_file_that_should_not_be_committed() -> None:
    assert {path.suffix for path in (ROOT / "docs").rglob("*") if path.is_file()} <= {".md", ".json", ".png"}
