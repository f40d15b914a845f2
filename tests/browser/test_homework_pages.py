"""Feedback and summary pages of homework in a browser: readable, accessible, and deaf to what submissions hold."""

import runpy

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT

from course_lib.homework import feedback
from course_lib.homework.records import write_by_hand

pytestmark = pytest.mark.browser

PAGES = ["summary.html", "feedback/s00.html", "feedback/s03.html", "feedback/s19.html"]
ATTACK = (
    "<script>document.title='run'</script><img src=http://127.0.0.1:9/x onerror=\"document.title='run'\">"
    "</style></title></pre><style>*{background:url(http://127.0.0.1:9/y)}</style>" + "w" * 20_000
)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The pages of twenty students, of whom s03 has put hostile text wherever a submission can."""
    examples = runpy.run_path(str(ROOT / "tests" / "homework" / "examples.py"))
    made = examples["records"]()
    made[3] |= {"name": ATTACK, "flags": [ATTACK], "output": ATTACK}
    for row in made[3]["questions"]:
        row |= {"answer": ATTACK, "message": ATTACK}
        for part in row["parts"]:
            part |= {"message": ATTACK, "asked": ATTACK, "got": ATTACK, "what": ATTACK}
    folder = examples["save"](tmp_path_factory.mktemp("homework"), made)
    write_by_hand(folder / "by_hand.csv", made)
    feedback.write(folder)
    return folder


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_page(browser, out, name, width, theme, request):
    """Catches grey on grey, a table that pushes a phone's page aside, a string that runs, a request."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    page, requests, errors = context.new_page(), [], []
    page.on("request", lambda r: requests.append(r.url))
    page.on("console", lambda m: m.type != "error" or errors.append(m.text))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto((out / name).as_uri())
    title = page.title()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    options = {"resultTypes": ["violations"], "preload": False, "rules": {"target-size": {"enabled": True}}}
    found = Axe().run(page, options=options).response["violations"]
    assert not found, "\n".join(f"{v['id']}: {v['help']}\n    {n['html'][:300]}" for v in found for n in v["nodes"])
    assert page.title() == title != "run"
    assert requests == [(out / name).as_uri()]
    assert errors == []
    context.close()


def test_the_policy_stops_what_escaping_would_let_through(browser, out):
    """The second wall: markup put into a finished page by hand neither runs nor loads."""
    text = (out / "feedback" / "s00.html").read_text(encoding="utf-8")
    (out / "broken.html").write_text(text.replace("</main>", ATTACK + "</main>"), encoding="utf-8")
    page, failures = browser.new_page(), []
    page.on("requestfailed", lambda r: failures.append(r.failure))
    page.on("requestfinished", lambda r: r.url.startswith("file:") or failures.append(f"answered: {r.url}"))
    page.goto((out / "broken.html").as_uri())
    assert page.title() != "run"
    assert failures == ["csp", "csp"]  # the image and the style's background
    page.close()


def test_print_unfolds_the_answers_on_white(browser, out):
    page = browser.new_page(color_scheme="dark")
    page.goto((out / "feedback" / "s00.html").as_uri())
    answer = page.locator("details:not([open]) pre").first
    assert not answer.is_visible()
    page.emulate_media(media="print", color_scheme="dark")
    assert answer.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.close()
