"""A real Chromium for tests: started afresh, without network services of its own, everything it complains of kept."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


def find_browser() -> tuple[str, str] | None:
    """(chromium, chromedriver); None where one is missing."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def start(directory: Path) -> Iterator[Any]:
    """A driver with an empty profile in `directory`; skips, saying so, where there is no browser."""
    found = find_browser()
    webdriver = pytest.importorskip("selenium.webdriver", reason="NO BROWSER: selenium is not installed")
    if found is None:
        missing = "NO BROWSER: chromium and chromedriver are needed (apt-get install chromium chromium-driver)"
        assert not os.environ.get("SPD_CI"), missing
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for flag in [*FLAGS, f"--user-data-dir={directory}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(found[1]))
    try:
        yield driver
    finally:
        driver.quit()


def resize(driver: Any, width: int, height: int) -> None:
    """The page's own size."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_page(driver: Any, page: Path, address: str = "") -> None:
    """Open a page afresh and wait until it is ready."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get("about:blank")
    driver.get(f"{page.as_uri()}{address}")
    WebDriverWait(driver, 20).until(lambda d: d.execute_script("return document.documentElement.dataset.ready"))


def complaints(driver: Any) -> list[str]:
    """Whatever the console said since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests(driver: Any) -> list[str]:
    """Addresses requested since the last call, other than of files and what the browser holds itself."""
    import json

    found = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith(("file:", "about:", "chrome:", "data:", "blob:")):
                found.append(url)
    return found


def texts(driver: Any, selector: str) -> list[str]:
    """The text of every element of a selector."""
    found: list[str] = driver.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
    )
    return found


def ids(driver: Any) -> list[int]:
    """The numbers of the groups in the index's table."""
    return [int(text) for text in texts(driver, "tbody#rows > tr > td:first-child")]


def wait(driver: Any, condition: Callable[[Any], Any]) -> Any:
    """Until the condition holds."""
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 10).until(condition)


def type_filter(driver: Any, text: str) -> None:
    """Key by key."""
    box = driver.find_element("id", "filter")
    box.clear()
    box.send_keys(text)
