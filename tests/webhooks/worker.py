"""A site's processes that take Stripe's messages and may be killed at any moment.

`python -m tests.webhooks.worker DATABASE SOCKET` begins one for each line on its input. They are forked from this one,
because a start costs more than a hundred messages. Each asks at SOCKET what to do, and answers with the HTTP status.
"""

import logging
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Client

import django
from django.test.utils import setup_test_environment

from tests import settings
from tests.faults.victim import forked

#: So long is a message kept for a worker that may be dead. Two minutes are right for a site and too long for us.
LEASE = timedelta(seconds=1)


def work(address):
    with Client(address) as harness:
        harness.send(os.getpid())
        # With nobody to ask, it ends.
        with suppress(EOFError):
            while True:
                name, what = harness.recv()
                harness.send(WORK[name](what))


def take(body):
    return events.post_raw(body).status_code


def withdraw(pk):
    worlds.withdraw(pk)
    return 200


if __name__ == "__main__":
    settings.DATABASES["default"]["NAME"], address = sys.argv[1:]
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    # Nobody waits for the dead.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    django.setup()
    # Mail goes nowhere.
    setup_test_environment()
    # Every failure that we make is told of; what is wrong in the end is in the rows.
    logging.disable()

    from django_krcard import gateway
    from django_krcard.conf import conf
    from django_krcard.testing.webhooks import Events
    from django_krcard.webhooks import inbox
    from tests.webhooks import worlds

    inbox.LEASE = LEASE
    # A failure of Stripe's is to reach us, and at once.
    gateway.client.MAX_NETWORK_RETRIES = 0
    events, WORK = Events(), {"message": take, "withdraw": withdraw}
    # What the first message would have to load: the site's addresses, the SDK.
    events.post_raw(b"{}", header="t=0,v1=0")
    gateway.client.client_for(settings.STRIPE_SECRET_KEY, conf.STRIPE_API_VERSION, None, True)
    for _line in sys.stdin:
        forked(lambda: work(address))
