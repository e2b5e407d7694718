"""The form that starts a training: what is already learned as the start, by one tick; and no training at all."""

import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from core.ground import parameters
from core.settings import Settings
from core.store.db import Database
from tests.browser.conftest import Site
from tests.browser.layout import WIDTHS, assert_tidy, resized
from tests.conftest import picture_zip
from tests.service.serving import ready_dataset, serving

pytestmark = pytest.mark.browser
TICK = "Start from what is already learned"


def started(page: Page, site: Site) -> dict[str, Any]:
    """The parameters of the job that the button starts; it is cancelled at once."""
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url("**/#/job/job_*")
    expect(page.get_by_role("button", name="Start training")).to_have_count(0)  # or the next form is taken for this one
    job = page.url.rpartition("/")[2]
    site.live.client.post(f"/jobs/{job}/cancel")
    params: dict[str, Any] = site.live.get(f"/jobs/{job}")["params"]
    return params


def test_what_is_learned_already_is_the_start_unless_one_says_otherwise(page: Page, site: Site, tmp_path: Path) -> None:
    dataset = site.live.upload(picture_zip(tmp_path / "start.zip", 24, first=30_000))
    form = f"/#/train?dataset={dataset}"
    page.goto(form)
    tick = page.get_by_label(TICK)
    expect(tick).to_be_checked()
    expect(page.get_by_text("cells, spectrograms or maps")).to_be_visible()
    assert started(page, site) == {"preset": "quick", "init": "imagenet"}
    page.goto(form)
    tick.uncheck()
    page.get_by_label("Best").check()
    assert started(page, site) == {"preset": "best"}
    page.goto(form)
    page.get_by_label("Only make it searchable").check()
    expect(tick).to_be_checked()
    expect(tick).to_be_disabled()
    assert started(page, site) == {"method": "frozen", "init": "imagenet"}


def test_what_the_paper_published_starts_from_nothing_unless_asked(page: Page, site: Site, tmp_path: Path) -> None:
    dataset = site.live.upload(picture_zip(tmp_path / "paper.zip", 24, first=31_000))
    page.goto(f"/#/train?dataset={dataset}")
    tick = page.get_by_label(TICK)
    for preset in ("Paper", "Released"):
        page.get_by_label(preset).check()
        expect(tick).not_to_be_checked()
        expect(tick).to_be_enabled()
        page.get_by_label("Quick").check()
        expect(tick).to_be_checked()
    page.get_by_label("Only make it searchable").check()
    page.get_by_label("Paper").check()
    assert started(page, site) == {"preset": "paper"}


def test_where_nothing_is_learned_yet_the_form_says_how_to_get_it(
    page: Page, settings: Settings, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, parameters.WEIGHTS_PACKAGE, None)  # as if it were not installed
    dataset = ready_dataset(db, settings)
    with serving(settings, db) as client:
        page.goto(f"{client.base_url}/#/train?dataset={dataset}")
        tick = page.get_by_label(TICK)
        expect(tick).to_be_disabled()
        expect(tick).not_to_be_checked()
        expect(page.get_by_text("pip install 'anchorhood[pretrained]'")).to_be_visible()
        expect(page.get_by_label("Only make it searchable")).to_be_disabled()
        for width in WIDTHS:
            resized(page, width)
            assert_tidy(page, "the form without pretrained weights")
        page.get_by_label("Best").check()
        page.get_by_role("button", name="Start training").click()
        page.wait_for_url("**/#/job/job_*")
        (job,) = client.get("/jobs?kind=train").json()["data"]
        assert job["params"] == {"preset": "best"}
        page.goto("about:blank")


def test_bounds_and_choices_are_those_of_the_services_description(page: Page, site: Site) -> None:
    described = site.live.get("/openapi.json")
    params = described["components"]["schemas"]["Params"]["properties"]
    rule = {name: next(one for one in value["anyOf"] if one["type"] != "null") for name, value in params.items()}
    form = f"/#/train?dataset={site.dataset}"
    page.goto(form)
    page.get_by_text("More: parameters").click()
    numbers = page.locator("form.form input[type=number]")
    shown = numbers.evaluate_all("(inputs) => inputs.map(({ id, min, max }) => [id, Number(min), Number(max)])")
    assert len(shown) == 11
    assert shown == [[name, rule[name]["minimum"], rule[name]["maximum"]] for name, _, _ in shown]
    encoders = page.get_by_label("Encoder", exact=True).locator("option")
    assert encoders.evaluate_all("(options) => options.map(({ value }) => value)") == ["", *rule["backbone"]["enum"]]

    rule["rounds"]["maximum"] = 7  # as of a service with other bounds
    rule["backbone"]["enum"] = ["resnet18", "of-tomorrow"]
    page.route("**/openapi.json", lambda route: route.fulfill(json=described))
    page.reload()
    page.get_by_text("More: parameters").click()
    rounds = page.get_by_label("Rounds", exact=True)
    expect(rounds).to_have_attribute("max", "7")
    expect(page.get_by_text("together. 1 to 7.")).to_be_visible()
    rounds.fill("8")
    assert rounds.evaluate("(input) => input.validity.rangeOverflow")
    expect(encoders).to_have_text(["by the preset", "ResNet-18", "of-tomorrow"])
