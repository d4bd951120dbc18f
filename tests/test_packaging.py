"""The package as people get it: built, installed in a clean environment, and looked at from there."""

import fnmatch
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import django_krcard

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "django_krcard"
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.sqlite3*", "screenshots")

# One worker builds the wheel once for all of these.
pytestmark = [pytest.mark.packaging, pytest.mark.xdist_group("packaging")]


def run(*command, cwd):
    env = {name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "PYTHONPATH")}
    result = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    # A copy, because a build leaves its traces beside setup.cfg, and would find those of earlier ones there.
    # Without --wheel: the wheel is made from the source distribution, so MANIFEST.in is tried, too.
    source = tmp_path_factory.mktemp("source") / "django_krcard"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    run(sys.executable, "-m", "build", "--no-isolation", str(source), cwd=source)
    return source / "dist"


@pytest.fixture(scope="module")
def wheel(dist):
    [path] = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def inside(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def clean_python(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return python


def test_every_file_of_the_package_is_in_the_wheel(inside):
    files = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name and not name.endswith((".pyc", ".DS_Store"))}

    assert files - inside == set()


@pytest.mark.parametrize(
    "pattern",
    [
        "templates/krcard/*.html",
        "static/krcard/*.css",
        "locale/ko/LC_MESSAGES/django.po",
        "locale/ko/LC_MESSAGES/django.mo",
        "migrations/0001_*.py",
        "sandbox/migrations/0001_*.py",
        "sandbox/templates/*.html",
        "templatetags/krcard.py",
    ],
)
def test_what_a_site_needs_is_in_the_wheel(inside, pattern):
    assert fnmatch.filter(inside, f"django_krcard/{pattern}")


def test_nothing_else_is_in_the_wheel(inside):
    assert {name.split("/")[0] for name in inside} == {
        "django_krcard",
        f"django_krcard-{django_krcard.__version__}.dist-info",
    }


def test_the_wheel_requires_django_and_stripe_and_nothing_else(metadata):
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist")]

    assert {each.name for each in requirements if "extra" not in str(each.marker)} == {"Django", "stripe"}


def test_the_wheel_says_who_it_is(metadata):
    assert metadata["Name"] == "django-krcard"
    assert metadata["Version"] == django_krcard.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_source_distribution_carries_the_suite(dist):
    [path] = dist.glob("*.tar.gz")
    shutil.unpack_archive(path, dist, filter="data")
    unpacked = dist / path.name.removesuffix(".tar.gz")

    for name in ("Makefile", "CHANGELOG.md", "tests/conftest.py", "example_project/manage.py", "LICENSE"):
        assert (unpacked / name).is_file(), name


SITE = """
import sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="clean",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_krcard"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
assert "stripe" not in sys.modules, "the app imports stripe"

from django.core.management import call_command

call_command("migrate", verbosity=0)
import django_krcard

print(django_krcard.__file__)
"""


def test_a_site_starts_in_a_clean_environment(clean_python, tmp_path):
    where = run(clean_python, "-I", "-W", "error", "-c", SITE, cwd=tmp_path)

    assert clean_python.parents[1] in Path(where.strip()).parents


def test_a_tiny_site_tests_its_own_flow_with_what_the_wheel_brings(wheel, tmp_path):
    """It has the wheel with its `testing` extra, the documented fixtures, and nothing of this repository."""
    site = tmp_path / "tiny_site"
    shutil.copytree(ROOT / "tests" / "tiny_site", site, ignore=NOT_SOURCE)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[testing]", cwd=tmp_path)

    said = run(python, "-m", "pytest", "-q", cwd=site)

    assert "2 passed" in said
    [suite] = site.glob("test_*.py")
    assert len(suite.read_text(encoding="utf-8").splitlines()) < 30
    # The plugin came by its entry point.
    assert "krcard_sandbox" in run(python, "-m", "pytest", "--fixtures", cwd=site)


def test_dj_stripe_and_this_package_share_a_project_and_a_customer(wheel, tmp_path):
    """Half a minute of it are dj-stripe's migrations."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{wheel}[testing]", "dj-stripe", cwd=tmp_path)
    shutil.copy(ROOT / "tests" / "beside_djstripe.py", tmp_path)

    assert "beside each other, with stripe 15." in run(python, "beside_djstripe.py", tmp_path, cwd=tmp_path)


def test_all_that_was_installed_fits_together(clean_python, tmp_path):
    run(clean_python, "-m", "pip", "check", cwd=tmp_path)
