"""What every page must be, by parsing its HTML."""

from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

VOID = {"meta", "img", "input", "br", "hr"}


class Parsed(HTMLParser):
    """The elements of a page, each with its attributes, and its text.

    Attributes:
        elements: names and attributes, in order.
        text: all text outside of style and script, words apart by single spaces.
        rows: cells of the rows of all tables, as text.
    """

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))
        assert self._open == [], "every element is closed"
        self.text = " ".join(" ".join(self._texts).split())
        self._check()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script"):
            self._texts.append(data)
            if {"td", "th"} & set(self._open):
                self.rows[-1][-1] = " ".join(f"{self.rows[-1][-1]} {data}".split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of all elements with a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def _check(self) -> None:
        names = Counter(name for name, _ in self.elements)
        assert (names["h1"], names["main"], names["title"]) == (1, 1, 1)
        levels = [int(name[1]) for name, _ in self.elements if name in ("h1", "h2", "h3")]
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert all(each.get("scope") in ("col", "row") for each in self.named("th"))
        assert names["caption"] == names["table"]
        for image in self.named("img"):
            assert str(image["src"]).startswith("data:image/png;base64,")
            assert image["alt"]
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in self.elements:
            assert not [name for name in attributes if name.startswith("on") or name == "style"], (
                "the policy forbids it"
            )
        assert not names["link"] + names["iframe"] + names["object"]
        policies = [str(each["content"]) for each in self.named("meta") if each.get("http-equiv")]
        assert len(policies) == 1
        assert policies[0].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
