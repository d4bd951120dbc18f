"""A process that talks to Stripe over a socket is killed for real, now and then, and started again."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from django_krcard.models import Charge, Customer, Refund
from django_krcard.sandbox import control
from django_krcard.sandbox.server import SandboxServer
from django_krcard.testing.factories import customer_for, saved_mandate
from tests.factories import as_used_terms
from tests.faults import books
from tests.faults.victim import AMOUNT

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

ROOT = Path(__file__).parents[2]
KILLS = 10
#: A process lives for so many orders, and so many seconds of the next.
MOST_ORDERS, LONGEST = 5, 0.3


@pytest.fixture
def stripe_at():
    with SandboxServer("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


@pytest.fixture
def site(stripe_at, tmp_path):
    """Give it an order, get the number of the process that carries it out; ask it how that one ended."""
    command = [sys.executable, "-m", "tests.faults.victim", str(connection.settings_dict["NAME"]), stripe_at]
    # What the killed leave lying about goes with the folder of the test.
    env = os.environ | {"TMPDIR": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env=env, text=True, bufsize=1, **pipes) as process:
        yield process
        process.stdin.close()


def begin(site, order):
    print(order, file=site.stdin)
    return int(site.stdout.readline())


def how_it_ended(site):
    while not (line := site.stdout.readline()).startswith("ended"):
        assert line, "The process that begins the others has ended itself."
    return os.waitstatus_to_exitcode(int(line.split()[1]))


def test_killed_at_random_moments_no_money_is_moved_twice_and_none_is_lost(site):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    control.reset()
    control.set_delivery("dropped")
    customer = customer_for(reference="minji")
    Customer.objects.update(notice_address="minji@example.com")
    saved_mandate(customer, as_used_terms(amount=AMOUNT, period="month", max_amount_per_period=90_000_000))

    for _kill in range(KILLS):
        pid = begin(site, "work")
        for _order in range(moments.randint(0, MOST_ORDERS)):
            assert site.stdout.readline() == "one more\n"
        time.sleep(moments.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        assert how_it_ended(site) == -signal.SIGKILL
    begin(site, "recover")
    assert how_it_ended(site) == 0

    orders = Charge.objects.count()
    print(f"{orders} orders")
    assert orders
    assert books.complaints() == []
    assert set(Charge.objects.values_list("status", flat=True)) == {"succeeded"}
    assert len(books.books("payment_intent")) == orders
    assert [row.status for row in Refund.objects.all()] == ["succeeded"] * (orders // 3)
