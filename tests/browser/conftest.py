"""The demo as a person meets it: its own process, its own database, a real Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANAGE = ROOT / "example_project" / "manage.py"
SCREENSHOTS = Path(__file__).parent / "screenshots"
CHROMIUM = os.environ.get("KRCARD_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

#: The machine may have no network, and Chromium is not to try.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Shop:
    """A running demo shop, and the strings of its sandbox."""

    def __init__(self, folder):
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = os.environ | {
            "DATABASE_URL": f"sqlite:///{folder / 'shop.sqlite3'}",
            "PORT": str(self.port),
            "STRIPE_SECRET_KEY": "",
            "PYTHONPATH": str(ROOT),
        }
        self.env.pop("DJANGO_SETTINGS_MODULE", None)
        self.log = (folder / "server.log").open("w")

    def manage(self, *command):
        done = subprocess.run(
            [sys.executable, MANAGE, *command], env=self.env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sandbox(self, call):
        """Pull a string of the sandbox, for example ``set_delivery("held")``."""
        return self.manage("shell", "-c", f"from django_krcard.sandbox import control; print(control.{call})")

    def start(self):
        self.manage("migrate", "--verbosity", "0")
        self.manage("seed_demo")
        self.process = subprocess.Popen(
            [sys.executable, MANAGE, "runserver", "--noreload", f"127.0.0.1:{self.port}"],
            env=self.env,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(self.url, timeout=2):
                    return self
            except OSError:
                time.sleep(0.2)
        raise AssertionError(f"The demo did not start. {Path(self.log.name).read_text()}")

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("shop")).start()
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def chromium():
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (install it, or name it in KRCARD_TEST_CHROMIUM)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium, shop):
    """Open a fresh browser (its own cookies) for somebody; ``phone`` is 360 px wide."""
    contexts, complaints = [], []

    def open_one(*, phone=True, locale="ko-KR"):
        size = {"width": 360, "height": 800} if phone else {"width": 1280, "height": 900}
        context = chromium.new_context(viewport=size, locale=locale, timezone_id="Asia/Seoul", base_url=shop.url)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda answer: answer.status >= 500 and complaints.append(f"{answer.status} {answer.url}"))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
