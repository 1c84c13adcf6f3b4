"""A page as a browser shows it: headless Chromium at a given width.

python -m tests.reports.browser report/index.html page.png 1280      # a picture of the page, as in docs/
"""

import base64
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --disable-dev-shm-usage"
)

OVERFLOWING = """
const wide = [...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  const inside = getComputedStyle(element).clipPath === 'none' && !element.closest('thead');
  const inner = element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1;
  return inside && (inner || box.right > document.documentElement.clientWidth + 1 || box.left < -1);
});
return wide.map(element => element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 60));
"""
"""Elements that are wider than their place, or than the page; the head of a table is hidden where rows are stacked."""


def missing() -> str:
    """What is not installed of the two programs that this needs; nothing where both are."""
    return " and ".join(name for name in ("chromium", "chromedriver") if shutil.which(name) is None)


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A browser with an empty profile, ended afterwards."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    driver.set_page_load_timeout(120)
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: Any, page: Path, width: int, screenshot: Path | None = None) -> None:
    """Opens a page in a window so wide, and keeps what it looks like in whole."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get("about:blank")  # or the same page again would count as loaded at once
    driver.get(page.resolve().as_uri())
    _wait_for_images(driver)
    if screenshot is not None:
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, **_whole(driver)})
        screenshot.write_bytes(base64.b64decode(shot["data"]))


def _wait_for_images(driver: Any, seconds: float = 120.0) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    loaded = "return document.readyState === 'complete' && [...document.images].every(image => image.complete)"
    WebDriverWait(driver, seconds).until(lambda driver: driver.execute_script(loaded))


def _whole(driver: Any) -> dict[str, Any]:
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}


def main(page: str, picture: str, width: str = "1280") -> None:
    """Writes a picture of a page."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as driver:
        show(driver, Path(page), int(width), Path(picture))


if __name__ == "__main__":
    main(*sys.argv[1:])
