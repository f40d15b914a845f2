"""The interactive figure of chapter 11: from the keyboard, in both themes, in print and without script."""

import pytest
from conftest import SITE, need

pytestmark = pytest.mark.browser

PAGE = "chapters/11_optimizers.html"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_keyboard_changes_path_and_words(browser, site, theme):
    # Catches: a script that fails, a slider that does nothing, and a drawing in a colour close to its ground.
    context, page, errors = opened(browser, site, color_scheme=theme)
    figure = page.locator(".explorer")
    text, line, end = (figure.locator(f".explorer-{part}") for part in ("text", "line", "end"))
    menu, rate, beta = figure.get_by_role("combobox"), *figure.get_by_role("slider").all()
    seen = [(text.inner_text(), line.get_attribute("d"), end.get_attribute("d"))]
    for slider in (rate, beta):
        before = slider.get_attribute("aria-valuetext")
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert slider.get_attribute("aria-valuetext") != before
        assert slider.get_attribute("aria-valuetext") in text.inner_text()
        seen.append((text.inner_text(), line.get_attribute("d"), end.get_attribute("d")))
    assert all(len(set(parts)) == 3 for parts in zip(*seen, strict=True))

    menu.focus()
    page.keyboard.press("Home")
    assert text.inner_text().startswith("gradient descent, learning rate η")
    assert beta.is_disabled()
    assert "momentum" not in text.inner_text()
    rate.focus()
    page.keyboard.press("End")
    assert text.inner_text().endswith("the path ends outside the picture")
    assert figure.locator("[role=img]").get_attribute("aria-label") == text.inner_text()
    assert contrast(page) > 4.5
    assert errors == []
    context.close()


def test_script_shows_first_what_the_page_holds(browser, site):
    """Without script the drawing is there and the controls are not. Catches: Python and script that disagree."""
    shown = []
    for script in (True, False):
        context, page, _ = opened(browser, site, java_script_enabled=script)
        figure = page.locator(".explorer")
        assert figure.locator("select:visible, input:visible").count() == 3 * script
        parts = [figure.locator(f".explorer-{part}").get_attribute("d") for part in ("line", "dots", "end")]
        shown.append([figure.locator(".explorer-text").inner_text(), *parts])
        if script:
            page.emulate_media(media="print")
            assert figure.locator("select:visible, input:visible").count() == 0
            assert figure.locator(".explorer-plot:visible").count() == 1
        context.close()
    assert shown[0] == shown[1]


def opened(browser, site, **options):
    """Return a context, the chapter's page in it, and the list of its errors."""
    need((SITE / PAGE).exists(), f"no page {PAGE} in the built book", "run `make book` first")
    context = browser.new_context(viewport={"width": 390, "height": 844}, reduced_motion="reduce", **options)
    page, errors = context.new_page(), []
    page.on("console", lambda m: m.type != "error" or errors.append(m.text))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(site + PAGE)
    return context, page, errors


def contrast(page):
    """The WCAG ratio of the path's colour to the page's, from 1 to 21."""
    colours = page.evaluate(
        """[getComputedStyle(document.querySelector('.explorer-line')).stroke,
            ...['.explorer', 'body'].map(name => getComputedStyle(document.querySelector(name)).backgroundColor)]
            .map(colour => colour.match(/[\\d.]+/g).map(Number))"""
    )
    assert colours[1][3:] == [0]  # the figure has no ground of its own
    low, high = sorted(map(luminance, (colours[0], colours[2])))
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    """The relative luminance of (r, g, b) from 0 to 255, WCAG 2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour[:3])]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
