"""The site as a whole: its links, its first page, its missing pages, the keyboard, and without a server."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
HOME = "chapters/index.html"
BLOB = "training-deep-networks/course/blob/main/"


class Addresses(HTMLParser):
    """The ids of a page and the addresses that it links to."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links = {""}, []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key == "id":
                assert value not in self.ids, f'id="{value}" twice'
                self.ids.add(value)
            elif key in ("href", "src") and value:
                self.links.append(value)


def test_every_link_leads_somewhere(site):
    # Catches a renamed section or file, an image that was not copied, and a page with the same id twice.
    pages = {path: Addresses(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for page, addresses in pages.items():
        here = site + page.relative_to(SITE).as_posix()
        for link in addresses.links:
            if BLOB in link:  # a file of the repository, on GitHub or in Colab
                if not (ROOT / link.partition(BLOB)[2]).exists():
                    broken.append((page.name, link))
                continue
            address, fragment = urldefrag(urljoin(here, link))
            if not address.startswith(site):
                continue
            target = SITE / unquote(address.removeprefix(site).partition("?")[0])
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (target in pages and unquote(fragment) not in pages[target].ids):
                broken.append((page.name, link))
    assert broken == []


def test_first_address_leads_home(page, site):
    page.goto(site)
    page.wait_for_url(site + HOME)


def test_missing_page(page, site):
    # Catches links in 404.html that are relative to the missing page, which would lose its style.
    missing = []
    page.on("response", lambda r: r.ok or missing.append(r.url))
    answer = page.goto(site + "chapters/gone/no_such_page.html")
    assert answer.status == 404
    assert page.locator("h1:visible").inner_text().startswith("Page not found")
    assert missing == [answer.url]


def test_search_finds(page, site):
    page.goto(site + "search.html?q=gradient")
    page.locator("#search-results li a").first.wait_for()


def test_skip_link(page, site):
    page.goto(site + HOME)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")


def test_theme_switch(page, site):
    # From the keyboard, through all its states; the choice stays on the next page.
    page.goto(site + HOME)
    seen = set()
    switch = page.locator(".article-header-buttons .theme-switch-button")
    for _ in range(3):
        switch.focus()
        page.keyboard.press("Enter")
        seen.add(page.evaluate("document.documentElement.dataset.mode"))
    assert seen == {"auto", "light", "dark"}
    page.evaluate("localStorage.setItem('mode', 'dark'); localStorage.setItem('theme', 'dark')")
    page.goto(site + "chapters/bibliography.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_contents_on_a_phone(page, site):
    # The button of the sidebar opens it and Escape closes it.
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(site + HOME)
    contents = page.locator("nav.bd-links:visible")
    assert contents.count() == 0
    page.locator(".primary-toggle:visible").press("Enter")
    contents.wait_for()
    page.keyboard.press("Escape")
    contents.wait_for(state="hidden")


def test_without_a_server(page, site):
    # A reader can open the built files. Takes the first page with mathematics.
    requests = []
    page.on("request", lambda r: requests.append(r.url))
    path = next(p for p in sorted(SITE.glob("chapters/*.html")) if 'class="math' in p.read_text())
    page.goto(path.as_uri())
    page.locator("mjx-container").first.wait_for()
    assert [url for url in requests if not url.startswith((SITE.as_uri(), "data:"))] == []


@pytest.fixture
def page(browser):
    """An empty page at desktop width."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    yield context.new_page()
    context.close()
