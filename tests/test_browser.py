"""The notebooks in JupyterLab, as a reader sees them: bars, sliders and clicks, and what is left when one is reopened.

Needs Chromium with its driver and the extra `browser`, else the tests are skipped (see needed.py).
Screenshots are in runs/browser.
"""

import contextlib
import csv
import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needed import chromium

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "runs" / "browser"
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # cells out of sight are in the page, too
}
ERRORS = ("Error displaying widget", "Loading widget", "Javascript Error")
pytestmark = pytest.mark.browser


def copy_of(name: str, folder: Path, **parameters) -> Path:
    """A copy of a notebook without outputs, and with these in its parameter cell."""
    [source] = (ROOT / "notebooks").glob(f"{name}_*.ipynb")
    notebook = json.loads(source.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] += [f"\n{name} = {value!r}" for name, value in parameters.items()]
    path = folder / source.name
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """JupyterLab on the notebooks in a folder, with no settings but SETTINGS; its address."""
    own = folder / ".jupyter"
    (own / "settings").mkdir(parents=True)
    (own / "settings" / "overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    places = {f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = ["--no-browser", "--allow-root", "--expose-app-in-browser", "--ServerApp.port=0"]
    options += [f"--ServerApp.root_dir={folder}", f"--LabApp.app_settings_dir={own / 'settings'}"]
    with open(own / "log", "wb") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        process = subprocess.Popen(command, env=os.environ | places, stdout=log, stderr=log)
    try:
        [told] = until(lambda: [*(own / "runtime").glob("jpserver-*.json")], "JupyterLab did not start")
        address = until(lambda: json.loads(told.read_text(encoding="utf-8") or "{}"), "JupyterLab has no address")
        yield "{url}lab/tree/{{}}?reset&token={token}".format(**address)
    finally:
        process.terminate()
        process.wait()


def until(condition: Callable, problem: str, seconds: float = 60.0):
    """What the condition gives, as soon as that is something."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, problem
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def browser():
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    with chromium("window-size=1300,1400") as driver:
        yield driver


class Page:
    """A notebook in the browser."""

    def __init__(self, browser, address: str, path: Path):
        self.browser, self.address, self.path = browser, address.format(path.name), path
        self.load()

    def load(self) -> None:
        self.browser.get(self.address)
        self.until("return document.querySelectorAll('.jp-Notebook .jp-Cell').length > 3", "the notebook did not open")
        self.idle()

    KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"

    def script(self, text: str, *arguments):
        return self.browser.execute_script(text, *arguments)

    def until(self, text: str, problem: str, seconds: float = 60.0):
        try:
            return until(functools.partial(self.script, text), problem, seconds)
        except AssertionError:
            self.picture("failed")
            raise

    def command(self, name: str) -> None:
        """One of JupyterLab's, to its end where that does not wait for the kernel."""
        self.browser.execute_async_script(
            "const [name, done] = arguments; const ran = window.jupyterapp.commands.execute(name);"
            "if (name.includes('run-')) done(); else ran.then(() => done(), error => done(String(error)))",
            name,
        )

    def run(self, *texts: str, how: str = "run-cell") -> None:
        """Runs the cells with these texts, with how="run-all-below" and all below."""
        for text in texts:
            content = "const content = window.jupyterapp.shell.currentWidget.content;"
            which = "content.widgets.findIndex(({model: {type, sharedModel}}) => type === 'code'"
            self.script(
                f"{content} content.activeCellIndex = {which} && sharedModel.source.includes(arguments[0]))", text
            )
            self.command(f"notebook:{how}")
            time.sleep(0.2)
        self.idle(240 if how == "run-all-below" else 60)

    def idle(self, seconds: float = 60.0) -> None:
        self.until(f"return {self.KERNEL}?.status === 'idle'", "the kernel is still busy", seconds)

    def find(self, selector: str) -> list:
        """The elements of this kind, when there is one."""
        return until(lambda: self.browser.find_elements("css selector", selector), f"no {selector}")

    def cells(self) -> list[dict]:
        """The cells with code, as they would be saved now."""
        notebook = "window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON()"
        return [cell for cell in self.script(f"return {notebook}.cells") if cell["cell_type"] == "code"]

    def error(self) -> dict | None:
        """The output of the cell that ended with an error."""
        outputs = [output for cell in self.cells() for output in cell["outputs"]]
        return next((output for output in outputs if output["output_type"] == "error"), None)

    def finished(self, seconds: float) -> None:
        """Waits until each cell was carried out, and fails if one of them ended with an error."""
        until(lambda: self.error() or all(cell["execution_count"] for cell in self.cells()), "not finished", seconds)
        self.idle(seconds)
        assert self.error() is None

    def outputs(self) -> str:
        """The text of all outputs, as the reader sees it."""
        return self.script("return [...document.querySelectorAll('.jp-OutputArea')].map(e => e.innerText).join('\\n')")

    def picture(self, name: str, selector: str | None = None) -> None:
        """A screenshot, with the first element of this kind in the middle."""
        if selector:
            self.script("document.querySelector(arguments[0])?.scrollIntoView({block: 'center'})", selector)
            time.sleep(0.5)
        self.browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))

    def reopened(self, name: str, widget: str = "") -> None:
        """Saves, ends the kernel and opens the notebook again: nothing is broken, and there is no bar."""
        self.command("docmanager:save")
        self.command("notebook:shutdown-kernel")
        self.check()
        self.load()
        time.sleep(2)  # widgets are looked for after the kernel is there
        self.picture(name, ".jupyter-widgets")
        self.check()
        assert widget in self.outputs()

    def check(self) -> None:
        """No error of ours in the page or on the console, and no bar that is left."""
        assert not [text for text in ERRORS if text in self.outputs()]
        assert self.script("return document.querySelectorAll('.jp-OutputArea progress').length") == 0
        log = [entry for entry in self.browser.get_log("browser") if entry["source"] != "intervention"]  # the browser's
        assert [entry for entry in log if entry["level"] == "SEVERE"] == []


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    copy_of("00", folder, seeds=1, epochs=40)  # long enough to be seen on a fast machine
    copy_of("01", folder)
    copy_of("14", folder, steps=20, out=str(folder / "out"))
    with server(folder) as address:
        yield folder, address


@pytest.fixture
def page(browser, address):
    folder, form = address

    def opened(name: str) -> Page:
        [path] = folder.glob(f"{name}_*.ipynb")
        return Page(browser, form, path)

    return opened


BAR = "[...document.querySelectorAll('.jp-OutputArea-output')].find(e => e.querySelector('progress'))?.innerText"


def test_the_quickstart_shows_a_bar_and_goes_on_after_an_interruption(page):
    notebook = page("00")
    notebook.command("notebook:run-all-cells")
    words = notebook.until(f"const bar = {BAR}; return bar?.match(/all runs.*validation/) && bar", "no bar", 90)
    left = r"\d+ s left · about \d+ (s|min) for all runs"
    assert re.fullmatch(
        rf"(supervised, seed 0 · run 1|dnll, seed 0 · run 2) of 2 · {left} · loss=\d\.\d+ · validation=\d+\.\d%",
        words.strip(),
    )
    notebook.picture("00-bar", "progress")
    notebook.until(f"return {BAR}?.includes('run 2 of 2')", "no second run")
    notebook.command("notebook:interrupt-kernel")
    error = until(notebook.error, "not stopped")
    [line] = error["traceback"]
    assert re.fullmatch(r"stopped after iteration \d+ of \d+; run this cell again: runs that have ended are kept", line)
    notebook.picture("00-stopped", ".jp-RenderedText[data-mime-type$=stderr]")
    notebook.run("bar_over([settings", how="run-all-below")
    notebook.finished(240)
    assert notebook.outputs().count("supervised only, seed 0:") == 0  # that run had ended
    notebook.reopened("00-reopened")


def test_sliders_redraw_the_figure_and_do_so_again(page):
    notebook, cells = page("01"), ("agreement = ", "import numpy", "theory.explore(")
    figure = "document.querySelector('.jupyter-widgets .jp-RenderedImage img')?.src"

    def move(name: str) -> None:
        before = notebook.until(f"return {figure}", "no sliders with a figure")
        notebook.find(".jupyter-widgets .noUi-handle")[0].send_keys(Keys.ARROW_RIGHT)
        notebook.until(f"const now = {figure}; return now && now !== {json.dumps(before)}", "the figure stays")
        notebook.picture(name, ".jupyter-widgets")

    from selenium.webdriver.common.keys import Keys

    notebook.run(*cells)
    move("01-moved")
    notebook.run(cells[-1])  # the sliders of before go away, and those of now have their name
    move("01-moved-again")
    notebook.command("docmanager:save")
    notebook.load()  # while its kernel goes on
    move("01-kernel-goes-on")
    notebook.reopened("01-reopened", "Run the cell above for sliders")
    notebook.run(*cells)
    move("01-reopened-and-moved")


def test_a_click_in_the_grid_of_images_is_in_the_table(page, address):
    notebook = page("14")
    notebook.command("notebook:run-all-cells")
    notebook.finished(240)
    [choice, *others] = notebook.find(".jupyter-widgets select")
    assert len(others) == 9
    notebook.picture("14-grid", ".jupyter-widgets select")
    choice.send_keys("nine")
    [button] = notebook.find(".jupyter-widgets button")
    button.click()
    table = address[0] / "out" / "clicked.csv"
    rows = until(
        lambda: table.exists() and [*csv.DictReader(table.read_text(encoding="utf-8").splitlines())], "no table"
    )
    assert [row["class"] for row in rows] == ["nine"] + 9 * [""]
    notebook.until("return document.body.innerText.includes('1 classes written')", "it says nothing")
    notebook.picture("14-clicked", ".jupyter-widgets select")
    notebook.reopened("14-reopened", "Run the cell above for a grid")
