from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from agglo.report import Table, png_uri, write_report
from analysis.input_error import InputError
from tests.agglo.small_volumes import tree_of

NASTY = """<script>alert("1 & 2")</script> 'quoted' “ünïcödé”"""
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.declaration = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_decl(self, decl: str) -> None:
        self.declaration = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((self.open[-1], data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, tag: str) -> list[str]:
        return [data for name, data in self.text if name == tag]


def figure(width: float = 5.0) -> Figure:
    drawn = Figure(figsize=(width, 2.0))
    drawn.subplots().plot([1, 3, 2])
    return drawn


def written(path: Path) -> Page:
    write_report(
        path,
        title=f"Report {NASTY}",
        summary=[("VI", 1.234567, f"bits {NASTY}"), (NASTY, 82, "segments"), ("kind", NASTY, "")],
        tables=[
            Table(f"policies {NASTY}", ("policy", "VI", "n"), [(NASTY, 1.5, np.int64(7))]),
            Table("empty", ("a",), []),
        ],
        figures=[("a curve", figure()), (NASTY, figure(12.0))],
        facts={"seed": 3, NASTY: NASTY, "config": {"train": {"rounds": 5}}, "out": Path("/tmp/x")},
    )
    return Page(path.read_text())


def test_a_report_is_whole_html_that_needs_nothing_else(tmp_path: Path) -> None:
    page = written(tmp_path / "report.html")
    assert page.declaration == "DOCTYPE html"
    assert page.elements[0] == ("html", {"lang": "en"})
    text = re.sub("base64,[A-Za-z0-9+/=]+", "", (tmp_path / "report.html").read_text())
    for address in ("http:", "https:", "//", "url(", "@import"):
        assert address not in text
    assert {tag for tag, _ in page.elements} <= {
        *("html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "div", "dl"),
        *("dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td"),
        *("figure", "figcaption", "img"),
    }
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert name not in ("href", "srcset", "data", "action")
            assert not name.startswith("on")
            assert name != "src" or (tag == "img" and str(value).startswith("data:image/png"))
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")
    assert {"charset": "utf-8"} in page.of("meta")


def test_all_text_is_escaped_and_comes_back(tmp_path: Path) -> None:
    page = written(tmp_path / "report.html")
    assert not page.of("script")
    assert page.said("title") == page.said("h1") == [f"Report {NASTY}"]
    assert page.said("dt") == ["VI", NASTY, "kind", "seed", NASTY, "config", "out"]
    assert page.said("dd") == [
        *("1.235", f"bits {NASTY}", "82", "segments", NASTY),
        *("3", NASTY, '{"train": {"rounds": 5}}', "/tmp/x"),
    ]
    assert page.said("caption") == [f"policies {NASTY}", "empty"]
    assert page.said("td") == [NASTY, "1.5", "7"]
    assert page.said("figcaption") == ["a curve", NASTY]
    assert [image["alt"] for image in page.of("img")] == ["a curve", NASTY]


def test_columns_of_numbers_stand_right(tmp_path: Path) -> None:
    page = written(tmp_path / "report.html")
    assert [cell.get("class") for cell in page.of("td")] == [None, "number", "number"]
    heads = [cell.get("class") for cell in page.of("th")]
    assert heads == [None, "number", "number", None]


def test_figures_are_embedded_as_pictures(tmp_path: Path) -> None:
    images = written(tmp_path / "report.html").of("img")
    for image, width in zip(images, (5, 12), strict=True):
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/png;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
        assert picture.size == (width * 130, 2 * 130)
        assert (image["width"], image["height"]) == (str(width * 96), "192")


def test_a_figure_has_the_resolution_asked_for() -> None:
    data = png_uri(figure(), dpi=50).removeprefix("data:image/png;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (250, 100)


def test_parts_that_are_empty_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, title="Bare", summary=[], facts={})
    page = Page(path.read_text())
    assert [tag for tag, _ in page.elements if tag in ("dl", "table", "figure", "h2", "img")] == []
    assert page.said("h1") == ["Bare"]


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    written(tmp_path / "report.html")
    before = tree_of(tmp_path)
    assert list(before) == ["report.html"]
    with pytest.raises(TypeError, match="is no JSON value"):
        write_report(tmp_path / "report.html", title="", summary=[], facts={"x": {"y": object()}})
    with pytest.raises(InputError, match=r"--out: .* cannot be written \(No such file"):
        write_report(tmp_path / "no" / "report.html", title="", summary=[], facts={})
    assert tree_of(tmp_path) == before


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a table of 2 columns cannot have a row of 3"):
        Table("", ("a", "b"), [(1, 2), (1, 2, 3)])


def test_json_values_stay_readable(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    facts = {"numbers": [1, 2.5, None, True], "array": np.arange(3)}
    write_report(path, title="Facts", summary=[], facts=facts)
    found = [json.loads(text) for text in Page(path.read_text()).said("dd")]
    assert found == [[1, 2.5, None, True], [0, 1, 2]]
