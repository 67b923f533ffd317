"""Tables, charts and pages."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.charts import Bar, Series, bar_chart, line_chart
from runtime.html import Card, Page, data_uri
from runtime.tables import markdown_table


def jpeg(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "JPEG")
    return buffer.getvalue()


# Markdown


def test_a_table_reads_well_as_text_too():
    table = markdown_table(["run", "R@1", "note"], [["p=0.8", 12.5, "a|b"], ["x", 3, "two\nlines"]])
    assert table == (
        "| run   |  R@1 |      note |\n"
        "| :---- | ---: | --------: |\n"
        "| p=0.8 | 12.5 |      a\\|b |\n"
        "| x     |    3 | two lines |\n"
    )


def test_alignment_is_chosen_by_column():
    rule = markdown_table(["a", "b", "c"], [], align=["right", "center", "left"]).splitlines()[1]
    assert rule == "| ---: | :---: | :--- |"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a row has 1 cells, the table 2 columns"):
        markdown_table(["a", "b"], [["only"]])


cells = st.text(max_size=8)


@given(st.lists(st.lists(cells, min_size=2, max_size=2), max_size=4))
def test_every_line_of_a_table_has_as_many_cells(rows):
    lines = markdown_table(["a", "b"], rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)


# Charts


def svg_of(chart: str) -> ET.Element:
    return ET.fromstring(chart[: chart.index("</svg>") + len("</svg>")])


def points_of(element: ET.Element) -> list[tuple[float, float]]:
    return [tuple(float(v) for v in pair.split(",")) for pair in element.attrib["points"].split()]


def test_a_line_chart_shows_lines_bands_and_a_legend():
    xs = [0.0, 0.5, 1.0]
    lines = [
        Series(name="short <R@1>", x=xs, y=[10, 30, 20], low=[8, 25, 15], high=[12, 35, 25]),
        Series(name="long", x=xs, y=[5, 4, float("nan")]),
    ]
    chart = line_chart(lines, x_label="share", y_label="R@1, %")
    svg = svg_of(chart)
    first, second = (points_of(line) for line in svg.iter("polyline"))
    assert len(first) == 3 and len(second) == 2
    # Higher values lie higher on the page, and x grows to the right.
    assert first[1][1] < first[2][1] < first[0][1] and first[0][0] < first[1][0] < first[2][0]
    (band,) = svg.iter("polygon")
    assert len(points_of(band)) == 6 and points_of(band)[1][1] < first[1][1] < points_of(band)[4][1]
    assert "short &lt;R@1&gt;" in chart and chart.count("<li ") == 2


def test_bars_stand_on_zero_and_carry_whiskers():
    svg = svg_of(bar_chart([Bar(name="a", value=4, low=3, high=5), Bar(name="b", value=-2)], y_label="x", reference=1))
    up, down = svg.iter("rect")
    bottom = float(up.attrib["y"]) + float(up.attrib["height"])
    assert bottom == pytest.approx(float(down.attrib["y"]), abs=0.15)
    assert float(up.attrib["height"]) == pytest.approx(2 * float(down.attrib["height"]), rel=0.01)
    assert len(list(svg.iter("path"))) == 1
    assert [line.attrib["class"] for line in svg.iter("line")].count("reference") == 1


numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))


@given(st.lists(numbers, min_size=1, max_size=6))
def test_any_numbers_stay_inside_the_picture(values):
    line = Series(name="any", x=list(range(len(values))), y=values)
    for x, y in points_of(next(svg_of(line_chart([line], x_label="", y_label="")).iter("polyline"))):
        assert 0 <= x <= 560 and 0 <= y <= 320


# Pages


class Checker(HTMLParser):
    """Collect tags and check that they close in order."""

    VOID = frozenset({"meta", "img", "br", "circle", "line", "rect", "polyline", "polygon", "path"})

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.anchors, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.sources += [found["src"]] if "src" in found else []
        self.anchors += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page():
    page = Page("Title <&>", "Made by `make report`.")
    page.section("Data & captions")
    page.facts({"images": "20,000"})
    page.cards([Card(image=jpeg("red"), texts={"original": "a <b>", "recaption": "A red square."})])
    page.section("Data & captions")
    page.subsection("Curves")
    chart = line_chart([Series(name="a", x=[0, 1], y=[1, 2])], x_label="x", y_label="y")
    page.charts([(chart, "one"), (chart, "two")])
    page.table(["run", "R@1"], [["p=0", 1.5], ["p=1", "`2`"]], caption="Numbers", text_columns=[1], strong_rows=[1])
    page.image(Image.new("RGB", (4, 4)), caption="black", width_px=40)
    page.figure_grid(["p=0", "p=1"], [("A <prompt>", [jpeg("red"), jpeg("blue")])], caption="Grid")
    page.details("More", "<p>hidden</p>")
    return page


def test_a_page_is_well_formed_and_fetches_nothing(page):
    html, checker = page.render(), Checker()
    checker.feed(html)
    assert checker.open == []
    assert len(checker.sources) == 4 and all(source.startswith("data:image/") for source in checker.sources)
    assert checker.links == ["#data-captions", "#data-captions-1"]
    assert checker.anchors == ["data-captions", "data-captions-1"]
    assert "http" not in html and "<script" not in html


def test_text_is_escaped_and_backticks_are_code(page):
    html = page.render()
    assert "Title &lt;&amp;&gt;" in html and "a &lt;b&gt;" in html and "A &lt;prompt&gt;" in html
    assert "<code>make report</code>" in html and "<code>2</code>" in html


def test_a_page_is_written_whole(page, tmp_path):
    page.write(tmp_path / "report" / "index.html")
    assert (tmp_path / "report" / "index.html").read_text() == page.render()
    assert [p.name for p in (tmp_path / "report").iterdir()] == ["index.html"]


def test_pictures_keep_their_bytes(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg("red"))
    for source in (jpeg("red"), tmp_path / "a.jpg"):
        assert base64.b64decode(data_uri(source).removeprefix("data:image/jpeg;base64,")) == jpeg("red")
    stored = base64.b64decode(data_uri(Image.new("RGB", (3, 2), "blue")).removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(stored)).getpixel((0, 0)) == (0, 0, 255)
    with pytest.raises(ValueError, match="not a JPEG, PNG, WebP or GIF"):
        data_uri(b"plain text")
