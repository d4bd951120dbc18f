"""What the README says is tried, not believed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.template import engines

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"

BLOCK = re.compile(r"^```(?P<tag>[\w+-]+)[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(*tags):
    text = README.read_text(encoding="utf-8")
    return [match["code"] for match in BLOCK.finditer(text) if match["tag"] in tags]


def block_for(file_name):
    [code] = [code for code in blocks("python") if code.startswith(f"# {file_name}\n")]
    return code


@pytest.mark.parametrize("code", [pytest.param(code, id=code.split("\n")[0]) for code in blocks("python")])
def test_the_python_of_the_readme_compiles(code):
    compile(code, "README.md", "exec")


def test_the_templates_of_the_readme_compile():
    for code in blocks("django", "html+django", "html"):
        engines["django"].from_string(code)


VISIT = """
import django
django.setup()

from django.test import Client
from django.urls import reverse

response = Client(headers={"host": "localhost"}).get(reverse("krcard:cards"))
assert response.status_code in (200, 302), response.status_code
"""


def test_the_lines_of_the_readme_make_a_working_site(tmp_path):
    def run(*arguments):
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "STRIPE_SECRET_KEY": "sk_test_readme",
            "STRIPE_WEBHOOK_SECRET": "whsec_readme",
        }
        result = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr

    def append(file_name):
        with (tmp_path / "shop" / file_name).open("a", encoding="utf-8") as file:
            file.write("\n" + block_for(file_name))

    run("-m", "django", "startproject", "shop", ".")
    append("settings.py")
    append("urls.py")

    run("manage.py", "check", "--fail-level", "WARNING")
    run("manage.py", "migrate", "--verbosity", "0")
    run("-c", VISIT)
