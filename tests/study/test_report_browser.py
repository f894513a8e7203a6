"""The report as a browser shows it: nothing asked of the network, nothing wider than a phone, everything legible."""

import base64
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qmm.study.report import write_report

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SECONDS = 60
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="neither chromium nor google-chrome is on the PATH")

CONTRAST = """
(() => {
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const part = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const low = [];
  for (const element of document.body.querySelectorAll('*')) {
    if (![...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    if (['title', 'desc', 'style'].includes(element.tagName.toLowerCase())) continue;
    const own = getComputedStyle(element);
    const ink = rgb(element.closest('svg') ? own.fill : own.color);
    let at = element, ground = [0, 0, 0, 0];
    for (; at; at = at.parentElement) {
      ground = rgb(getComputedStyle(at).backgroundColor);
      if (ground.length < 4 || ground[3] > 0) break;
    }
    const [a, b] = [light(ink), light(ground)].sort((x, y) => x - y);
    const ratio = (b + 0.05) / (a + 0.05);
    if (ratio < 4.5) low.push([element.textContent.trim().slice(0, 40), ratio]);
  }
  return JSON.stringify(low);
})()
"""
SMALLEST = """
Math.min(...[...document.querySelectorAll('svg text')].map(text => {
  const svg = text.closest('svg');
  const size = parseFloat(getComputedStyle(text.querySelector('tspan') || text).fontSize);
  return size * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
}))
"""
OPEN_ALL = "document.querySelectorAll('details').forEach(d => d.open = true)"
WIDTH = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
GROUND = "getComputedStyle(document.body).backgroundColor"


ENDS = """
import os, sys
ends = [os.dup2(int(end), place) for end, place in zip(sys.argv[1:3], (1003, 1004))]
os.dup2(1003, 3), os.dup2(1004, 4)
os.closerange(5, 1005)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The pipes' ends stand where the browser expects them: it reads from 3 and writes to 4."""


class Browser:
    """Chromium without a window, told what to do through its DevTools pipe: no port, no further package."""

    def __init__(self, home: Path):
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
        command = [str(PROGRAM), *flags, "--remote-debugging-pipe", f"--user-data-dir={home}", "about:blank"]
        own = [sys.executable, "-S", "-c", ENDS, str(theirs_in), str(theirs_out), *command]
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(own, pass_fds=(theirs_in, theirs_out), **quiet)
        os.close(theirs_in)
        os.close(theirs_out)
        self._bytes, self._number, self._session = bytearray(), 0, ""
        self.events: list[dict[str, Any]] = []
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self._number += 1
        session = {"sessionId": self._session} if self._session else {}
        message = {"id": self._number, "method": method, "params": arguments, **session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._bytes:
            assert select.select([self._in], [], [], SECONDS)[0], "the browser says nothing"
            got = os.read(self._in, 65536)
            assert got, "the browser is gone"
            self._bytes += got
        message, _, rest = bytes(self._bytes).partition(b"\0")
        self._bytes = bytearray(rest)
        return json.loads(message)

    def show(self, page: Path, width: int, scheme: str) -> list[str]:
        """Loads a page to its end; what was asked for meanwhile, the page apart."""
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())
        asked = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if url != page.as_uri() and not url.startswith("data:")]

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self) -> bytes:
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without its Content-Security-Policy, which would keep a request from being seen."""
    home = tmp_path_factory.mktemp("shown")
    study = made_up.study(("quantum", "a_name_that_is_long_and_has_no_place_to_break_it_at_all"), seeds=3, counterparts=False)
    write_report(study, made_up.outcome(study, (100, 400)), home, f"qmm study --config {'x' * 200}.yaml")
    text = (home / "report.html").read_text()
    policy = next(line for line in text.splitlines() if "Content-Security-Policy" in line)
    (home / "report.html").write_text(text.replace(policy, ""))
    return home / "report.html"


def test_a_request_would_be_seen(browser: Browser, page: Path) -> None:
    """Of the test below: it finds one that is there."""
    asking = page.with_name("asking.html")
    asking.write_text(page.read_text().replace("</main>", '<img src="http://127.0.0.1:9/pixel.png" alt="x"></main>'))
    assert browser.show(asking, 1200, "light") == ["http://127.0.0.1:9/pixel.png"]


@pytest.mark.parametrize("width", [1200, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_legible_and_asks_for_nothing(browser: Browser, page: Path, width: int, scheme: str) -> None:
    assert browser.show(page, width, scheme) == []
    browser.value(OPEN_ALL)
    assert browser.value(WIDTH) <= width
    assert json.loads(browser.value(CONTRAST)) == []
    ground = [int(part) for part in browser.value(GROUND).removeprefix("rgb(").removesuffix(")").split(",")]
    assert (max(ground) < 64) if scheme == "dark" else (min(ground) > 192)
    assert browser.value(SMALLEST) >= 7.0  # pixels; those of labels of a matrix of many classes
    assert browser.picture().startswith(b"\x89PNG")
