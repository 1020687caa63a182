"""The book of `make book`: nothing of it comes from the net, its links lead somewhere, and it fits a phone."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from needed import chromium, needed

import dnll_core

needed("furo", "math_core", "myst_nb", "ziamath", extra="book")
pytestmark = pytest.mark.browser  # `make test-browser` builds the book, for half a minute, and needs its extra

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


class Page(HTMLParser):
    """`elements` by tag, as dicts of their attributes, and `text` outside of code."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements, self.text, self.outside = defaultdict(list), "", True
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements[tag].append(dict(attrs))
        self.outside = self.outside and tag not in ("pre", "code", "script", "style")

    def handle_endtag(self, tag):
        self.outside = self.outside or tag in ("pre", "code", "script", "style")

    def handle_data(self, data):
        self.text += data * self.outside

    def all(self, attribute):
        return [e[attribute] for elements in self.elements.values() for e in elements if e.get(attribute)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The book, built without a warning."""
    folder = tmp_path_factory.mktemp("book") / "book"  # beside it myst-nb writes its images
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "notebooks", folder]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(folder):
    return {path: Page(path) for path in folder.rglob("*.html")}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def lesson(request, folder, pages):
    """Cells of a notebook, and its page."""
    cells = json.loads(request.param.read_text(encoding="utf-8"))["cells"]
    return cells, pages[folder / f"{request.param.stem}.html"]


def test_the_map_comes_first_then_the_notebooks_in_order_then_the_api(folder, pages):
    first = pages[folder / "index.html"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    included = readme.split("\n## ")[0] + readme.split("## Map of the paper")[1].split("\n## ")[0]
    assert len(first.elements["tr"]) == len(re.findall(r"^\|(?!---)", included, re.M))  # without lines below heads
    links = [e["href"] for e in first.elements["a"] if e.get("class") == "reference internal" and "#" not in e["href"]]
    chapters = list(dict.fromkeys(link for link in links if "/" not in link))
    assert chapters[-2:] == ["api.html", "data.html"]
    assert chapters[:-2] == [f"{path.stem}.html" for path in NOTEBOOKS]


def test_nothing_comes_from_the_net(folder, pages):
    for path, page in pages.items():
        loaded = page.all("src") + page.all("srcset") + [e["href"] for e in page.elements["link"]]
        assert loaded and not [name for name in loaded if "//" in name], path
    for path in folder.rglob("*.css"):
        styles = path.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\((?![\"']?data:)[^)]*//", styles), path


def test_links_lead_somewhere(pages):
    anchors = {path: set(page.all("id")) for path, page in pages.items()}
    for path, page in pages.items():
        for link in page.all("src") + page.all("href"):
            scheme, host, file, _, anchor = urlsplit(link)
            target = (path.parent / unquote(file)).resolve() if file else path
            assert scheme in ("http", "https", "data") or (not host and target.is_file()), f"{path.name}: {link}"
            if anchor and not scheme:
                assert unquote(anchor) in anchors[target], f"{path.name}: {link}"


def test_images_have_the_alternative_text_of_their_outputs(lesson):
    cells, page = lesson
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [output["metadata"]["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})]
    assert [image["alt"] for image in page.elements["img"]] == pictures


def test_formulas_are_mathml_and_keep_their_numbers(lesson):
    cells, page = lesson
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", re.sub(r"`[^`\n]+`", "", text), re.S)
    assert len(page.elements["math"]) >= len(formulas)  # outputs have some, too
    for number in re.findall(r"\\tag\{(.+?)\}", text):
        assert f"({number})" in page.text
    assert not re.search(r"\$|\\[a-zA-Z]+", page.text)
    assert not page.elements["merror"]


def test_the_api_has_every_module_and_what_the_package_offers(folder, pages):
    known = set(pages[folder / "api.html"].all("id"))
    for name in dnll_core.__all__:
        assert f"{getattr(dnll_core, name).__module__}.{name}" in known
    for path in (ROOT / "dnll_core").rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        assert path.stem == "__main__" or f"module-{module}" in known


# What is wider than the screen, but for what scrolls by itself.
WIDE = """
const scrolls = element => element && (scrolls(element.parentElement)
  || element.matches("pre, .table-wrapper, .formula, .text_html, p") && getComputedStyle(element).overflowX == "auto");
const wide = [...document.querySelectorAll("article *")].filter(element =>
  element.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !scrolls(element.parentElement));
const across = document.documentElement.scrollWidth - document.documentElement.clientWidth;
return [across, wide.map(element => element.outerHTML.slice(0, 200))];
"""


@pytest.fixture(scope="module")
def browser():
    """Chromium without a net."""
    with chromium("host-resolver-rules=MAP * ~NOTFOUND") as driver:
        yield driver


@pytest.mark.parametrize("width", [1100, 390])
def test_a_browser_without_a_net_draws_every_page_within_the_screen(width, browser, folder):
    screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    for path in sorted(folder.glob("*.html")):
        browser.get(path.as_uri())
        assert browser.execute_script(WIDE) == [0, []], path.name
        assert browser.get_log("browser") == [], path.name
    browser.get((folder / "01_theory.html").as_uri())
    fonts = "return document.fonts.ready.then(() => [...document.fonts].map(font => font.family + ' ' + font.status))"
    [font] = browser.execute_script(fonts)
    assert "STIX Two Math" in font and font.endswith("loaded")
    height = "return document.querySelector('.formula mfrac').getBoundingClientRect().height"
    assert browser.execute_script(height) > 20  # px: drawn as a fraction, one above the other
