"""An SDK that we did not write, in a language that is not ours, on the served sandbox."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .serving import COMMAND, served

STRIPE_NODE = "stripe@23"
STORIES = Path(__file__).with_name("node") / "stories.mjs"

# One worker installs the SDK once for all of these.
pytestmark = [pytest.mark.node, pytest.mark.xdist_group("node")]


@pytest.fixture(scope="module")
def node():
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("needs Node.js and npm")
    return "node"


@pytest.fixture(scope="module")
def folder(node, tmp_path_factory):
    """A folder with stripe-node and our stories."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", STRIPE_NODE]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm could not get {STRIPE_NODE} in time")
    if result.returncode:
        pytest.skip(f"npm could not get {STRIPE_NODE}: {result.stderr[-300:]}")
    shutil.copy(STORIES, folder)
    return folder


@pytest.fixture(scope="module")
def sandbox(folder):
    with served(folder) as process:
        yield process


@pytest.mark.parametrize(
    "story",
    [
        "saves_and_charges_a_card",
        "pages_through_a_list",
        "meets_the_errors_it_knows",
        "repeats_itself_under_one_key",
    ],
)
def test_stripe_node(node, folder, sandbox, story):
    command = [node, STORIES.name, story, sandbox.address, *COMMAND, "krcard_sandbox"]
    told = subprocess.run(
        command, cwd=folder, env=sandbox.environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert told.returncode == 0, told.stderr + sandbox.log.read_text()
