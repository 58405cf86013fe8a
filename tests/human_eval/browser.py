"""A real headless Chromium for the annotation page, and the picture of it in the documentation:

python -m tests.human_eval.browser docs/images/human_eval.png
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gist_core.scoring.human_eval.files import write_package
from gist_core.scoring.human_eval.package import Pair, draw_package

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
SWITCHES = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "hide-scrollbars",
)


@contextmanager
def chromium(profile: Path, *, size: tuple[int, int] = (1280, 1000), scale: float = 1) -> Iterator:
    """A browser with its own profile folder; downloads go to `profile`/downloads."""
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for switch in (*SWITCHES, f"user-data-dir={profile}", f"window-size={size[0]},{size[1]}"):
        options.add_argument(f"--{switch}")
    options.add_argument(f"--force-device-scale-factor={scale}")
    downloads = profile / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def press(driver, *keys: str) -> None:
    """Presses keys one after the other, as a person does, wherever the focus is."""
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(driver).send_keys(key).perform()


_EXAMPLES = [
    (
        "Write a Python function that returns the second largest number in a list.",
        "[4, 1, 9, 7, 9]",
        "```python\ndef second_largest(numbers):\n    distinct = sorted(set(numbers))\n    return distinct[-2]\n```\n"
        "For the list above it returns 7: the 9 that occurs twice counts once.",
        "Sort the list and take the element before the last one:\n\nsorted([4, 1, 9, 7, 9])[-2]\n\nThe result is 9.",
    ),
    ("Name three rivers in Europe.", "", "Danube, Rhine, Loire", "The Danube, the Nile and the Rhine."),
    ("Shorten this sentence.", "It is the case that it is raining.", "It is raining.", "It rains."),
]


def take_picture(target: Path) -> None:
    """The page in the middle of the work, on invented items."""
    items = [
        Pair(f"{i:032x}", *(_EXAMPLES[0] if i % 3 == 0 else _EXAMPLES[1 + i % 2]))  # type: ignore[misc]
        for i in range(100)
    ]
    drawn = draw_package(items, run="run", against="other", num_items=100, annotators=["annotator-1"], seed=2)
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder) / "profile", size=(1280, 947)) as driver:
        write_package(drawn, Path(folder) / "package")
        driver.get((Path(folder) / "package/hand_out/annotator-1/annotator-1.html").as_uri())
        at = next(i for i, p in enumerate(drawn.pairs) if i > 36 and p.instruction == _EXAMPLES[0][0])
        press(driver, *("1231022131"[i % 10] for i in range(at)), "1", "\ue012")
        driver.save_screenshot(str(target))


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]))
