"""Every page of the book, at phone and desktop width, light and dark.

There is one class for each width, so that two workers share the pages. A page is loaded once for all the
tests of its class.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

AXE = Axe()
# Without preload, which fetches style sheets from wrong addresses; with the rule for the size of targets.
AXE_OPTIONS = {"resultTypes": ["violations"], "preload": False, "rules": {"target-size": {"enabled": True}}}


@dataclass
class Visit:
    """A loaded page, and what happened while it loaded and was used."""

    page: Page
    name: str
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="class")
def visit(request, browser, site):
    """The page named by the parameter, loaded, with its mathematics set."""
    context = browser.new_context(viewport=size(*request.cls.window), reduced_motion="reduce")
    page = context.new_page()
    seen = Visit(page, request.param)
    page.on("request", lambda r: seen.requests.append(r.url))
    page.on("requestfailed", lambda r: seen.errors.append(f"failed: {r.url} ({r.failure})"))
    page.on("response", lambda r: r.status < 400 or seen.errors.append(f"{r.status}: {r.url}"))
    page.on("console", lambda m: m.type != "error" or seen.errors.append(m.text))
    page.on("pageerror", lambda e: seen.errors.append(str(e)))
    page.goto(site + request.param)
    page.evaluate("Promise.resolve(window.MathJax?.startup?.promise).then(() => document.fonts.ready).then(() => 0)")
    yield seen
    context.close()


def size(width, height):
    """A window's size as Playwright wants it."""
    return {"width": width, "height": height}


def shade(page, theme):
    """Have the page follow a system that is set to `theme`."""
    page.emulate_media(color_scheme=theme)
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)


class EveryPage:
    """What holds for every page at each width."""

    window: tuple[int, int]
    widths: tuple[int, int]

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_accessible(self, visit, theme, request):
        # Catches, say, a figure without alternative text, or grey on grey in one of the themes.
        shade(visit.page, theme)
        found = AXE.run(visit.page, options=AXE_OPTIONS).response["violations"]
        folder = request.config.getoption("screenshots", default=None)
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            name = f"{visit.name.removesuffix('.html').replace('/', '-')}-{self.window[0]}-{theme}.png"
            visit.page.screenshot(path=Path(folder) / name, full_page=True)
        lines = [f"{v['id']}: {v['help']}\n    {n['html']}" for v in found for n in v["nodes"]]
        assert not found, "\n".join(lines)

    def test_no_sideways_scrolling(self, visit):
        # Catches a formula, table or code cell that is wider than the screen and has no box of its own.
        for width in self.widths:
            visit.page.set_viewport_size(size(width, self.window[1]))
            page_width = visit.page.evaluate("document.documentElement.scrollWidth")
            assert page_width <= width, f"{page_width - width} px beyond a screen of {width} px"

    def test_mathematics_is_set(self, visit):
        # Catches MathJax not loading, and a formula that it cannot read.
        formulas = visit.page.locator(".math").count()
        assert visit.page.locator(".math mjx-container").count() >= formulas
        assert visit.page.locator("mjx-merror").all_inner_texts() == []

    def test_asks_only_its_own_site(self, visit, site):
        # Catches a script, font or badge from elsewhere; the browser could not reach it here anyway.
        assert [url for url in visit.requests if not url.startswith((site, "data:"))] == []

    def test_no_errors(self, visit):
        # Catches a missing file and a script that fails.
        assert visit.errors == []


class TestPhone(EveryPage):
    """A phone held upright, and the narrowest in use."""

    window = (390, 844)
    widths = (320, 390)


class TestDesktop(EveryPage):
    """A laptop's window; and what does not depend on the width."""

    window = (1280, 900)
    widths = (1280, 800)

    def test_formulas_fit_their_column(self, visit):
        # Catches a last equation of three that a reader does not know is there: the box scrolls, but shows no bar.
        visit.page.set_viewport_size(size(*self.window))
        wide = visit.page.evaluate(
            """[...document.querySelectorAll('mjx-container[display=true]')].filter(formula =>
                formula.querySelector('mjx-math').getBoundingClientRect().width
                    > formula.closest('section').getBoundingClientRect().width).map(formula => formula.textContent)"""
        )
        assert wide == []

    def test_figures_are_described(self, visit):
        # Sphinx writes the file's name where the alternative text is missing, and axe is content with that.
        undescribed = visit.page.evaluate(
            """[...document.querySelectorAll('article :is(figure, .cell_output) img')]
                .filter(img => !img.alt.trim() || /\\.(svg|png|jpe?g)$/.test(img.alt)
                               || !img.closest('figure')?.querySelector('.caption-text')?.textContent.trim())
                .map(img => img.outerHTML)"""
        )
        assert undescribed == [], "give each figure mystnb.image.alt and mystnb.figure.caption"
