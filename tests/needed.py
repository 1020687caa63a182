"""What a few tests need beyond the extra `test`: else they are skipped, or fail where DNLL_TESTS=all, as in CI."""

import contextlib
import importlib
import os
import shutil
from collections.abc import Iterator

import pytest


def needed(*packages: str, extra: str) -> None:
    missing = []
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        _missing(f"the extra `{extra}` is not installed: {', '.join(missing)}")


@contextlib.contextmanager
def chromium(*options: str) -> Iterator:
    """Selenium's driver of a headless Chromium, which keeps the console's messages.

    options: of Chromium, without the dashes.
    """
    needed("selenium", extra="browser")
    from selenium import webdriver

    browsers, drivers = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
    found = [next(filter(None, map(shutil.which, names)), None) for names in (browsers, drivers)]
    if None in found:
        _missing("there is no chromium with its chromedriver")
    how = webdriver.ChromeOptions()
    how.binary_location = found[0]
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", *options):
        how.add_argument(f"--{option}")
    how.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=how, service=webdriver.ChromeService(found[1]))
    try:
        yield driver
    finally:
        driver.quit()


def _missing(message: str) -> None:
    if os.environ.get("DNLL_TESTS") == "all":
        pytest.fail(message, pytrace=False)
    pytest.skip(message, allow_module_level=True)
