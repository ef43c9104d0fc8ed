"""Structure of all pages, and contrast of the theme's colours."""

import re

import pytest

from deployments.browse.app import STATIC
from tests.deployments.browse.accessible import page_faults

LEAST_CONTRAST = 4.5  # of text, https://www.w3.org/TR/WCAG22/#contrast-minimum
CSS = (STATIC / "app.css").read_text()
ON_GROUNDS = ("text", "soft", "link", "accent", "good", "warn", "bad")
GROUNDS = ("ground", "panel", "raised")
HEAT = re.compile(r"\.heat-(\d) \{ background: color-mix\(in srgb, var\(--heat\) (\d+)%, var\(--panel\)\)")
Colour = tuple[float, float, float]


def theme(name: str) -> dict[str, Colour]:
    """The colours of a theme, channels from 0 to 255. Dark changes some of the light ones."""
    blocks = re.findall(r":root([^{]*)\{([^}]*)\}", CSS)
    mine = [
        body
        for selector, body in blocks
        if not selector.strip() or (name == "dark" and selector.strip() == '[data-theme="dark"]')
    ]
    return {
        variable: (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
        for body in mine
        for variable, digits in re.findall(r"--([\w-]+): #([0-9a-f]{6})", body)
    }


def luminance(colour: Colour) -> float:
    """https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    red, green, blue = (
        (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for c in (each / 255 for each in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Colour, other: Colour) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def mixed(share: float, colour: Colour, other: Colour) -> Colour:
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(colour, other, strict=True))
    return red, green, blue


@pytest.mark.parametrize("name", ["light", "dark"])
def test_text_can_be_read_on_every_ground(name: str) -> None:
    colours = theme(name)
    pairs = [(text, ground) for text in ON_GROUNDS for ground in GROUNDS] + [("accent", "accent-ground")]
    poor = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
    assert {pair: value for pair, value in poor.items() if value < LEAST_CONTRAST} == {}


@pytest.mark.parametrize("name", ["light", "dark"])
def test_days_can_be_read_on_every_level_of_heat(name: str) -> None:
    colours, levels = theme(name), HEAT.findall((STATIC / "overview.css").read_text())
    assert len(levels) == 5
    for level, percent in levels:
        ground = mixed(int(percent) / 100, colours["heat"], colours["panel"])
        assert contrast(colours["text"], ground) >= LEAST_CONTRAST, level


def test_the_two_ways_to_dark_have_the_same_colours() -> None:
    by_system, by_choice = re.findall(r"color-scheme: dark;([^}]*)\}", CSS)
    assert by_system.split() == by_choice.split()


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<h1>a</h1><h1>b</h1>", "2 h1"),
        ("<h1>a</h1><h3>b</h3>", "h3 follows h1"),
        ("<img src=a>", "img without alt: a"),
        ("<input name=a>", "input without a label: {'name': 'a'}"),
        ("<table><tr><th>a</th></tr></table>", "th without scope: a"),
        ("<i id=a></i><b id=a></b>", "id a 2 times"),
        ("<label for=a>x</label>", "no element has the id a"),
        ("<a href=b></a>", "a without a name: {'href': 'b'}"),
        ("<b style='color:red'>x</b>", "inline style in b"),
        ("<b onclick=x>x</b>", "inline handler onclick"),
        ("<b tabindex=3>x</b>", "tabindex of b"),
    ],
)
def test_faults_are_found(html: str, fault: str) -> None:
    page = f"<html lang=en><title>x</title><main>{html}</main></html>"
    assert fault in page_faults(page)
    assert page_faults(page.replace(html, "<h1>x</h1>")) == []
