"""Faults of a page that keep people with a keyboard or a screen reader from using it, as far as its text shows them."""

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"img", "input", "link", "meta", "br", "hr", "source", "track", "wbr", "path", "circle", "rect", "line", "use"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
LABELLED = {"input", "select", "textarea", "progress", "meter"}


@dataclass
class Element:
    """An element with its attributes and the text in it, with the alternatives of its pictures."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: list[str] = field(default_factory=list)


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[Element] = []
        self.elements: list[Element] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), inside=[each.tag for each in self.open])
        self.elements.append(element)
        for each in self.open:
            each.text += element.attributes.get("alt") or element.attributes.get("aria-label") or ""
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1].tag != tag:
            self.open.pop()
        if self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        for each in self.open:
            each.text += data

    def of(self, *tags: str) -> list[Element]:
        return [each for each in self.elements if each.tag in tags]


def page_faults(html: str) -> list[str]:
    """Return what is wrong with a page."""
    page = Page(html)
    return [*_document(page), *_headings(page), *_names(page), *_tables(page), *_references(page)]


def _document(page: Page) -> list[str]:
    faults = [] if any(each.attributes.get("lang") for each in page.of("html")) else ["no lang"]
    faults += [] if any(each.text.strip() for each in page.of("title")) else ["no title"]
    faults += [] if len(page.of("main")) == 1 else ["not one main"]
    forbidden = [each.tag for each in page.elements if "style" in each.attributes or each.tag == "style"]
    handlers = [name for each in page.elements for name in each.attributes if name.startswith("on")]
    return faults + [f"inline style in {tag}" for tag in forbidden] + [f"inline handler {name}" for name in handlers]


def _headings(page: Page) -> list[str]:
    levels = [int(each.tag[1]) for each in page.of(*HEADINGS)]
    faults = [] if levels.count(1) == 1 else [f"{levels.count(1)} h1"]
    faults += [f"h{after} follows h{before}" for before, after in pairwise(levels) if after > before + 1]
    return faults + [f"empty {each.tag}" for each in page.of(*HEADINGS) if not each.text.strip()]


def _names(page: Page) -> list[str]:
    labels = {each.attributes.get("for") for each in page.of("label")}
    faults = [
        f"img without alt: {each.attributes.get('src')}" for each in page.of("img") if "alt" not in each.attributes
    ]
    for each in page.of(*LABELLED):
        named = _has_label(each) or "label" in each.inside or each.attributes.get("id") in labels
        if not named and each.attributes.get("type") not in ("hidden", "submit"):
            faults.append(f"{each.tag} without a label: {each.attributes}")
    with_names = ("a", "button", "summary", "canvas", "svg", "video")
    return faults + [
        f"{each.tag} without a name: {each.attributes}" for each in page.of(*with_names) if not _is_named(each)
    ]


def _is_named(element: Element) -> bool:
    hidden = element.attributes.get("aria-hidden") == "true"
    return bool(element.text.strip() or _has_label(element) or hidden)


def _has_label(element: Element) -> bool:
    return bool(element.attributes.get("aria-label") or element.attributes.get("aria-labelledby"))


def _tables(page: Page) -> list[str]:
    faults = [f"th without scope: {each.text.strip()}" for each in page.of("th") if not each.attributes.get("scope")]
    return faults + ["table without th"] * (len(page.of("table")) > 0 and not page.of("th"))


def _references(page: Page) -> list[str]:
    ids = Counter(each.attributes["id"] for each in page.elements if each.attributes.get("id"))
    faults = [f"id {name} {number} times" for name, number in ids.items() if number > 1]
    names = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "list")
    used = [word for each in page.elements for name in names for word in (each.attributes.get(name) or "").split()]
    used += [
        href[1:] for each in page.of("a") if (href := each.attributes.get("href") or "").startswith("#") and href != "#"
    ]
    faults += [f"no element has the id {name}" for name in used if name not in ids]
    positive = [
        each for each in page.elements if (each.attributes.get("tabindex") or "0").lstrip("-") not in ("0", "1")
    ]
    positive += [each for each in page.elements if each.attributes.get("tabindex") == "1"]
    return faults + [f"tabindex of {each.tag}" for each in positive]
