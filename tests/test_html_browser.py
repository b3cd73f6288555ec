"""The HTML report in a real browser: nothing is fetched or complained about, the verdict is seen, axe-core is content.

Needs Debian's chromium and chromium-driver; axe-core comes from npm (`WSDIAG_AXE` names its axe.min.js).
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import reports
from wsdiag.inputs import read_all
from wsdiag.model import Report
from wsdiag.render import html
from wsdiag.render.redact import Redactor
from wsdiag.render.words import words

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
AXE = Path(os.environ.get("WSDIAG_AXE", "node_modules/axe-core/axe.min.js"))
STARTING_TAKES = 20.0  # seconds that a busy machine may need to start the driver

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")

SAMPLES = Path(__file__).parent.parent / "samples"


def sample(name: str) -> Callable[[], Report]:
    """The report on all that a sample holds."""

    def read() -> Report:
        folder = SAMPLES / name
        return read_all([str(folder / each) for each in json.loads((folder / "case.json").read_text())["inputs"]])

    return read


PAGES: dict[str, Callable[[], Report]] = {
    "tls-to-plaintext": sample("tls-to-plaintext--wm4115-websocket-wss-client"),
    "both-legs": sample("proxy-stripped-upgrade--nginx11-noupgrade-tornado-nodews"),
    "seed": reports.seed,
    "healthy": reports.healthy,
    "undecided": reports.undecided,
    "refused-key": reports.refused_key,
    "storm": reports.storm,
    "small-storm": lambda: reports.storm(120),
}
# axe-core looks at each cell several times; on 10,000 rows of the same kind it takes minutes.
TOO_LONG_FOR_AXE = ("storm",)


class Browser:
    """A WebDriver session (W3C WebDriver, with Chromium's log endpoint)."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        options = {
            "binary": CHROMIUM,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"],
        }
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.base += f"/session/{answer['sessionId']}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)["value"]

    def run(self, script: str, *arguments: Any, wait: bool = False) -> Any:
        kind = "async" if wait else "sync"
        return self.call("POST", f"/execute/{kind}", {"script": script, "args": list(arguments)})

    def log(self, kind: str) -> list[dict[str, Any]]:
        return list(self.call("POST", "/se/log", {"type": kind}))

    def media(self, scheme: str, width: int) -> None:
        """Emulate a colour scheme and a width of the page."""
        for name, values in (
            ("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
            (
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
            ),
        ):
            self.call("POST", "/goog/cdp/execute", {"cmd": name, "params": values})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert DRIVER
    with subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        until = time.monotonic() + STARTING_TAKES
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        session = Browser(port)
        yield session
        session.call("DELETE", "")
        driver.terminate()


@pytest.mark.parametrize("lang", ["en", "zh_CN"])
@pytest.mark.parametrize("name", PAGES)
def test_the_page_in_a_browser(browser: Browser, tmp_path: Path, name: str, lang: str) -> None:
    report = PAGES[name]()
    report = Redactor().report(report)
    file = tmp_path / "report.html"
    with file.open("w", encoding="utf-8") as out:
        out.writelines(html.page(report, words(lang), redacted=True))
    assert file.stat().st_size < 3_000_000
    browser.log("browser")
    browser.log("performance")
    browser.call("POST", "/url", {"url": file.as_uri()})
    for scheme in ("light", "dark"):
        for width in (1000, 390):
            browser.media(scheme, width)
            box = browser.run(
                "const r = document.querySelector('h1').getBoundingClientRect(), page = document.documentElement;"
                "return [r.top, r.width, page.scrollWidth, innerWidth, page.lang]"
            )
            assert 0 < box[0] < 500, "the verdict is on the first screen"
            assert box[1] > 100
            assert box[2] <= box[3], "the page does not scroll sideways"
            assert box[4] == lang.replace("_", "-")
            if AXE.is_file() and name not in TOO_LONG_FOR_AXE:
                faults = browser.run(
                    AXE.read_text(encoding="utf-8")
                    + ";const done = arguments[arguments.length - 1];"
                    + "axe.run(document, {resultTypes: ['violations']}).then(r => done(r.violations.map("
                    + "v => [v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html)])))",
                    wait=True,
                )
                assert [fault for fault in faults if fault[0] in ("serious", "critical", "moderate")] == []
    assert browser.log("browser") == []
    fetched = [
        message["params"]["request"]["url"]
        for entry in browser.log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    assert fetched == [file.as_uri()]
