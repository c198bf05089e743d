# SPDX-License-Identifier: GPL-2.0-or-later
"""The page of a fleet: who serves it, who asks for it over HTTP, and a browser."""
import base64
import hashlib
import http.client
import shutil
import ssl
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import relying
import world as w

TOKEN = "a token that nobody guesses".replace(" ", "-")


def party(folder, store, **page):
    """A relying party whose fleet is in `store`, with a page that `page` guards."""
    folder.mkdir(parents=True, exist_ok=True)
    made = relying.Party(folder, "/nothing", {})
    pcrs = [bytes(48) if n in (12, 15) else hashlib.sha384(bytes([n])).digest() for n in range(24)]
    made.nitro_root = relying.Fleet(folder).root_pem
    made.baselines = {"web": (relying.baseline(folder / "web.json", pcrs, 4, 7, 12), "boot")}
    made.settings["store"] = store
    made.page = {"listen": "127.0.0.1:0", **page}
    made.write()
    return made


def token_file(folder, text=TOKEN + "\n"):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "page.token"
    path.write_text(text)
    return path


class Page:
    """A running verifier with a page, and somebody who asks for it."""

    def __init__(self, verifier, headers=None, certificate=None):
        self.verifier = verifier
        self.address = verifier.wait_for("page-listening")["detail"]
        self.port = int(self.address.rpartition(":")[2])
        self.headers = {"Authorization": f"Bearer {TOKEN}"} if headers is None else headers
        self.context = ssl.create_default_context(cafile=str(verifier.party.ca))
        if certificate:
            self.context.load_cert_chain(certificate)

    def connection(self):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20 * w.PATIENCE, context=self.context)

    def ask(self, path, method="GET", headers=None, body=None):
        connection = self.connection()
        try:
            connection.request(method, path, body, self.headers if headers is None else headers)
            answer = connection.getresponse()
            return SimpleNamespace(status=answer.status, headers=dict(answer.getheaders()), text=answer.read().decode())
        finally:
            connection.close()

    def get(self, path, status=200):
        answer = self.ask(path)
        assert answer.status == status, answer.text
        return answer.text


def basic(password, user="ada"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def browser(width=1280, height=900, dark=False):
    """Chromium by selenium; skips if it is not installed. Its certificate errors are those of a test's authority."""
    webdriver = pytest.importorskip("selenium.webdriver")
    if not shutil.which("chromium") or not shutil.which("chromedriver"):
        pytest.skip("Debian's chromium and chromium-driver are not installed")
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    folder = tempfile.mkdtemp(prefix="mu-chromium-")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars",
                 "--ignore-certificate-errors", f"--user-data-dir={folder}", f"--window-size={width},{height}"):
        options.add_argument(word)
    driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
    driver.set_page_load_timeout(60 * w.PATIENCE)
    if width < 500:  # a window is never that narrow
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                               {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True})
    if dark:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    driver.profile = Path(folder)
    return driver


def leave(driver):
    driver.quit()
    shutil.rmtree(driver.profile, ignore_errors=True)

