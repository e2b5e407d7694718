"""Jobs: charts that fit on each visit, nothing drawn around nothing, every window served, the list that follows by itself."""

import itertools
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE, Site, until
from tests.browser.layout import WIDTHS, assert_tidy, resized
from tests.conftest import picture_zip

pytestmark = pytest.mark.browser
SLOW = {"rounds": 3, "epochs_first": 9000, "epochs": 9000}


def cancelled(site: Site, job: str) -> None:
    site.live.client.post(f"/jobs/{job}/cancel")
    site.live.finished(job)


def test_charts_fit_at_every_visit_and_after_a_change_of_size(page: Page, site: Site) -> None:
    resized(page, 1440)
    for visit in range(3):
        page.goto(f"/#/job/{site.job}")
        until(page, "document.querySelectorAll('.plot svg.main-svg').length >= 8")
        assert_tidy(page, f"visit {visit}")
        page.goto("/#/jobs")
        page.get_by_role("heading", name="Jobs").wait_for()
    page.goto(f"/#/job/{site.job}")
    until(page, "document.querySelectorAll('.plot svg.main-svg').length >= 8")
    for width in (390, 1440):
        resized(page, width)
        fits = "() => [...document.querySelectorAll('.plot')].every((plot) => Math.abs("
        fits += "plot.querySelector('svg.main-svg').getBoundingClientRect().width - plot.clientWidth) < 2)"
        until(page, fits)
        assert_tidy(page, "a window that was made another size")


def test_a_waiting_job_shows_no_axes_around_nothing(page: Page, site: Site) -> None:
    first = site.live.train(site.dataset, **SLOW)
    second = site.live.train(site.dataset, **SLOW)
    try:
        page.goto(f"/#/job/{second}")
        expect(page.locator(".state").first).to_have_text("queued")
        expect(page.locator(".plot").first).to_have_text("No epoch has ended yet.")
        assert page.locator(".plot svg").count() == 0
        assert page.locator("main progress").get_attribute("value") is None, "nothing is known of how far it is"
        for width in WIDTHS:
            resized(page, width)
            assert_tidy(page, "a waiting job")
    finally:
        cancelled(site, second)
        cancelled(site, first)


def test_seven_windows_on_one_running_job(chromium: Browser, site: Site) -> None:
    """A browser opens six connections to a service at a time: a stream for each window would leave none for the seventh."""
    job = site.live.train(site.dataset, **SLOW)
    context = chromium.new_context(base_url=site.url)
    context.set_default_timeout(PATIENCE)
    try:
        windows = [context.new_page() for _ in range(7)]
        for window in windows:
            window.goto(f"/#/job/{job}")
        for window in windows:
            expect(window.locator("#log li.epoch").first).to_be_visible()
        windows[-1].locator("#cancel").click()
        windows[-1].get_by_role("button", name="Cancel the job").click()
        for window in windows:
            expect(window.locator(".state").first).to_have_text("cancelled")
    finally:
        context.close()
        cancelled(site, job)


def test_a_hidden_window_asks_nothing_and_catches_up_when_it_is_seen(page: Page, site: Site) -> None:
    job = site.live.train(site.dataset, **SLOW)
    try:
        page.goto(f"/#/job/{job}")
        expect(page.locator("#log li.epoch").first).to_be_visible()
        hide = "(hidden) => { Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });"
        hide += " document.dispatchEvent(new Event('visibilitychange')); }"
        page.evaluate(hide, True)
        page.wait_for_timeout(3000)  # for what was asked already
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        cancelled(site, job)
        page.wait_for_timeout(3000)
        assert asked == []
        page.evaluate(hide, False)
        expect(page.locator(".state").first).to_have_text("cancelled")
        assert page.locator("#log li").count() == min(400, len(site.live.events(job)))
    finally:
        cancelled(site, job)


def test_the_list_of_jobs_follows_by_itself_and_says_what_is_done_to_which_dataset(page: Page, site: Site) -> None:
    job = site.live.train(site.dataset, **SLOW)
    try:
        page.goto("/#/jobs")
        row = page.locator("tbody tr", has=page.locator(f"a[href='#/job/{job}']"))
        expect(row).to_contain_text("running")
        expect(row).to_contain_text(site.live.get(f"/datasets/{site.dataset}")["name"])
        expect(row).to_contain_text("%")
        expect(row).to_contain_text("training")
        cancelled(site, job)
        expect(row).to_contain_text("cancelled")
    finally:
        cancelled(site, job)


def test_votes_do_not_fill_the_list_of_jobs(page: Page, site: Site) -> None:
    for _ in range(4):
        made = site.live.client.post(f"/datasets/{site.dataset}/classifications", json={}).raise_for_status().json()
        site.live.finished(made["id"])
    page.goto("/#/jobs")
    page.locator("tbody tr").first.wait_for()
    expect(page.get_by_role("cell", name="classes by votes")).to_have_count(0)
    page.get_by_label("Show").select_option("everything")
    row = page.locator("tbody tr", has_text="classes by votes").first
    expect(row).to_contain_text("before it")
    page.reload()
    expect(row).to_contain_text("before it")
    for width in WIDTHS:
        resized(page, width)
        assert_tidy(page, "all jobs")


def test_twenty_rounds_have_twenty_colours_and_no_class_is_grey(page: Page) -> None:
    page.goto("/")
    rounds, series = page.evaluate(
        """async () => {
            const { roundColour, SERIES } = await import(new URL("page/graphics/charts.js", document.baseURI));
            return [Array.from({ length: 20 }, (_, round) => roundColour(round)), SERIES];
        }"""
    )

    def parts(colour: str) -> tuple[int, ...]:
        return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))

    for one, other in itertools.combinations(rounds, 2):
        assert sum((a - b) ** 2 for a, b in zip(parts(one), parts(other), strict=True)) > 40**2, (one, other)
    for colour in [*rounds, *series]:
        assert max(parts(colour)) - min(parts(colour)) > 30, f"{colour} is nearly grey"


def test_what_a_person_needs_stands_first_and_the_method_behind_more(page: Page, site: Site) -> None:
    page.goto(f"/#/train?dataset={site.dataset}")
    for name in ("Learning rate of round 0", "Rounds", "Seed"):
        expect(page.get_by_label(name, exact=True)).to_be_hidden()
    page.get_by_text("More: parameters").click()
    expect(page.get_by_label("Learning rate of round 0")).to_be_visible()
    for width in WIDTHS:
        resized(page, width)
        assert_tidy(page, "all parameters")
    page.goto(f"/#/job/{site.job}")
    scores = page.get_by_role("region", name="How well it did")
    for text in ("This embedding", "The pretrained encoder as it is", "Raw pixels", "Mean average precision", "kNN"):
        expect(scores).to_contain_text(text)
    expect(page.locator(".figures")).to_be_hidden()
    page.get_by_text("More: figures").click()
    expect(page.locator(".figures")).to_contain_text("batch_size")
    assert_tidy(page, "a job's figures and parameters")


def test_phases_verdict_more_rounds_and_going_on(page: Page, site: Site, tmp_path: Path) -> None:
    dataset = site.live.upload(picture_zip(tmp_path / "phases.zip", 24, first=3000, side=32))
    first = site.live.train(dataset, rounds=1)
    assert site.live.finished(first)["status"] == "succeeded"
    page.goto(f"/#/job/{first}")
    verdict = site.live.get(f"/jobs/{first}")["verdict"]["sentence"]
    expect(page.locator("#verdict")).to_have_text(verdict)
    for width in WIDTHS:
        resized(page, width)
        assert_tidy(page, "a verdict")
    page.get_by_role("button", name="More rounds").click()
    page.get_by_label("Rounds to add").fill("1")
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    expect(page.get_by_role("link", name="The job that it goes on from")).to_be_visible()
    more = page.url.rpartition("/")[2]
    assert site.live.get(f"/jobs/{more}")["continues"] == first
    expect(page.locator(".phases [aria-current=step]")).to_be_visible()
    assert_tidy(page, "a job in a phase")
    expect(page.locator(".state").first).to_have_text("succeeded", timeout=3 * PATIENCE)

    job = site.live.train(dataset, **SLOW)
    page.goto(f"/#/job/{job}")
    expect(page.locator("#log li.epoch").first).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("Left")
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".state").first).to_have_text("cancelled")
    expect(page.locator("#cancel")).to_have_count(0)
    if site.live.get(f"/jobs/{job}")["continuation"] is None:  # it had no time for a checkpoint
        expect(page.locator("#resume")).to_have_count(0)
        return
    page.get_by_role("button", name="Go on from its checkpoint").click()
    expect(page.get_by_role("link", name="The job that it goes on from")).to_be_visible()
    cancelled(site, page.url.rpartition("/")[2])
