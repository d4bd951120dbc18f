"""A site's process that is killed for real. `python -m tests.faults.victim DATABASE STRIPE`, then orders on its input:

`work` begins a process that charges, schedules and pays back until somebody kills it; `recover` one that does what the
site does afterwards, and ends. Both are forked from this one, because a start costs more than all the rest.
"""

import os
import sys
import traceback
from itertools import count

import django
from django.test.utils import setup_test_environment

from tests import settings

AMOUNT = 1_000


def order(number):
    """One order of the site: paid at once, by the timer, or at once and then paid back."""
    mandate = Mandate.objects.select_related("customer__user", "payment_method").get()
    reference = f"order-{number}"
    if number % 3 == 1:
        services.schedule_charge(mandate, AMOUNT, reference=reference, due_at=mandate.activated_at)
        list(services.run_due())
        return
    charge = services.charge(mandate, AMOUNT, reference=reference)
    if number % 3 == 2 and charge.status == Charge.Status.SUCCEEDED:
        services.refund(charge, reference="back")


def work():
    # The site knows its orders; of the last few it cannot say how far it got.
    for number in count(max(Charge.objects.count() - 2, 0)):
        order(number)
        print("one more", flush=True)


def recover():
    with crash.world() as world:
        crash.recover(world)
        for number in range(Charge.objects.count()):
            order(number)
        crash.recover(world)


def forked(act):
    pid = os.fork()
    if pid:
        return pid
    try:
        act()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def main():
    acts = {"work": work, "recover": recover}
    for line in sys.stdin:
        pid = forked(acts[line.strip()])
        print(pid, flush=True)
        print("ended", os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    settings.DATABASES["default"]["NAME"], settings.KRCARD_STRIPE_API_BASE = sys.argv[1:]
    settings.KRCARD_SANDBOX = False
    settings.KRCARD_REQUESTS_PER_SECOND = 1_000
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    # Mail goes nowhere.
    setup_test_environment()

    import stripe  # noqa: F401

    from django_krcard import services
    from django_krcard.models import Charge, Mandate
    from tests.faults import crash

    main()
