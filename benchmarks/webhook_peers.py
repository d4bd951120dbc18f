"""One receiver of webhooks in a process and a database of its own, told by `webhooks.py` what to do, line by line.

All of them get the same bytes, by WSGI, without middleware, on a connection that stays open.
"""

import cProfile
import gc
import json
import pstats
import statistics
import sys
import time
from functools import cached_property, partial
from io import BytesIO, StringIO

import django
import scratch
import story
import stripe
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.urls import include, path
from webhook_counts import Counts, rows_in_all_tables

#: dj-stripe wants a key as long as Stripe's.
KEY = "sk_test_krcardBenchmarks00000000"
LAST = list(story.EVENTS)[-1]
DJANGO = ["django.contrib.auth", "django.contrib.contenttypes"]


class Receiver:
    """``changes`` are settings; ``prepare`` writes the rows that the messages are about."""

    changes = {}
    address = "webhook/"

    def __init__(self, stand_in):
        self.stand_in = stand_in

    def set_up(self):
        """Make what is there before the first message, and return the site's urls."""
        raise NotImplementedError

    def prepare(self, numbers):
        pass

    def prepare_payments(self, numbers):
        pass

    def through(self):
        """For how many customers the whole story has come to its end here. A receiver that does nothing is fast."""
        raise NotImplementedError

    @cached_property
    def application(self):
        settings.ROOT_URLCONF = (self.set_up(),)
        return get_wsgi_application()

    def deliver(self, environ):
        """One message, as a WSGI server would hand it over. Anything but 200 ends the benchmark."""
        said = []
        answer = self.application(environ, lambda status, headers: said.append(status))
        answer.close()
        if said != ["200 OK"]:
            raise SystemExit(f"{type(self).__name__}: {said}, {b''.join(answer)[:300]}")


# --- the receivers -------------------------------------------------------------------------------


class Bare(Receiver):
    """One of the views in `webhook_bare.py`."""

    def __init__(self, stand_in, *, view):
        super().__init__(stand_in)
        self.view = view
        self.changes = {"INSTALLED_APPS": DJANGO, "BARE_API_BASE": stand_in}

    def set_up(self):
        # Here and below: models need the settings.
        import webhook_bare

        webhook_bare.create_tables()
        return path(self.address, getattr(webhook_bare, self.view))

    def through(self):
        import webhook_bare

        return webhook_bare.Event.objects.filter(type=LAST).count()


class DjStripe(Receiver):
    """As its documentation has it, with the signature checked. Account and endpoint are known to it."""

    def __init__(self, stand_in, *, knows_customers=True):
        super().__init__(stand_in)
        self.knows_customers = knows_customers
        self.changes = {
            "INSTALLED_APPS": [*DJANGO, "djstripe"],
            "DJSTRIPE_FOREIGN_KEY_TO_FIELD": "id",
            "STRIPE_LIVE_MODE": False,
            "STRIPE_TEST_SECRET_KEY": KEY,
            "STRIPE_API_HOST": stand_in,
        }

    def set_up(self):
        from djstripe.models import APIKey, WebhookEndpoint

        key, _ = APIKey.objects.get_or_create_by_api_key(KEY)
        key.refresh_account()
        endpoint = WebhookEndpoint.objects.create(
            id="we_story",
            djstripe_owner_account=key.djstripe_owner_account,
            enabled_events=["*"],
            livemode=False,
            secret=story.SECRET,
            status="enabled",
            url="https://shop.example/stripe/",
        )
        self.address = f"stripe/webhook/{endpoint.djstripe_uuid}/"
        return path("stripe/", include("djstripe.urls", namespace="djstripe"))

    def prepare(self, numbers):
        from djstripe.models import Customer

        for number in numbers if self.knows_customers else ():
            Customer.sync_from_stripe_data(story.thing("customer", number))

    def through(self):
        from djstripe.models import Event, PaymentIntent

        paid = PaymentIntent.objects.filter(stripe_data__status="succeeded").count()
        return min(paid, Event.objects.filter(type=LAST).count())


class Ours(Receiver):
    """Inline: the message is worked off before the answer."""

    def __init__(self, stand_in, *, notices=False):
        super().__init__(stand_in)
        self.changes = {"KRCARD_STRIPE_API_BASE": stand_in} | ({} if notices else {"KRCARD_NOTICE_KINDS": []})

    def set_up(self):
        return path("", include("django_krcard.urls"))

    def prepare(self, numbers):
        import webhook_rows

        webhook_rows.attempts(numbers)

    def prepare_payments(self, numbers):
        import webhook_rows

        webhook_rows.payments_on_their_way(numbers)

    def through(self):
        from django_krcard.models import Charge, Event

        paid = Charge.objects.filter(status="succeeded", mandate__status="active").count()
        return min(paid, Event.objects.filter(type=LAST, status="done").count())


class OursQueued(Ours):
    """The message is stored and a task is made of it. Nobody works the tasks off here."""

    backend = ""

    def __init__(self, stand_in, **options):
        super().__init__(stand_in, **options)
        tasks = "django_tasks" if django.VERSION < (6,) else "django.tasks"
        self.changes |= {"TASKS": {"events": {"BACKEND": self.backend.format(tasks=tasks)}}}
        self.changes |= {"KRCARD_TASK_BACKEND": "events"}

    def prepare(self, numbers):
        pass

    prepare_payments = prepare

    def through(self):
        from django_krcard.models import Event

        return Event.objects.filter(type=LAST).exclude(queued_at=None).count()


class OursDummy(OursQueued):
    backend = "{tasks}.backends.dummy.DummyBackend"

    def prepare(self, numbers):
        from django_krcard.tasks import task_backends

        # It keeps every result that it was ever given.
        task_backends["events"].clear()


class OursDatabase(OursQueued):
    backend = "django_tasks_db.DatabaseBackend"

    def __init__(self, stand_in, **options):
        super().__init__(stand_in, **options)
        self.changes["INSTALLED_APPS"] = [*DJANGO, "django_krcard", "django_tasks_db"]


RECEIVERS = {
    "floor": partial(Bare, view="floor"),
    "least": partial(Bare, view="least"),
    "asking": partial(Bare, view="asking"),
    "djstripe": DjStripe,
    "djstripe_new": partial(DjStripe, knows_customers=False),
    "inline": Ours,
    "inline_notices": partial(Ours, notices=True),
    "dummy": OursDummy,
    "database": OursDatabase,
}


# --- measuring -----------------------------------------------------------------------------------


class Bench:
    def __init__(self, receiver):
        self.receiver, self.told = receiver, 0

    def customers(self, stories):
        numbers = range(self.told, self.told + stories)
        self.told += stories
        return numbers

    def story(self, numbers, act):
        """Let ``act`` deliver all messages of each type, one type after the other, and return what it returns."""
        receiver = self.receiver
        receiver.application  # noqa: B018
        receiver.prepare(numbers)
        results = {type: act(self.messages(type, numbers)) for type in story.SAVING}
        receiver.prepare_payments(numbers)
        results |= {type: act(self.messages(type, numbers)) for type in story.PAYING}
        if receiver.through() != self.told:
            raise SystemExit(f"{receiver.through()} of {self.told} customers are through.")
        return results

    def messages(self, type, numbers):
        return [self.environ(story.message(type, number)) for number in numbers]

    def environ(self, body):
        return {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": f"/{self.receiver.address}",
            "QUERY_STRING": "",
            "SERVER_NAME": "shop.example",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": "application/json; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": "shop.example",
            "HTTP_USER_AGENT": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "HTTP_STRIPE_SIGNATURE": story.signature(body),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https",
            "wsgi.input": BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }

    # what `webhooks.py` asks for

    def time(self, stories):
        """{type: [CPU, wall clock] in seconds} of ``stories`` messages each."""
        return self.story(self.customers(stories), self.timed)

    def timed(self, messages):
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        for message in messages:
            self.receiver.deliver(message)
        return time.process_time() - cpu, time.perf_counter() - wall

    def count(self, stories):
        """What each type of message costs in statements and calls, the first time and the second."""
        numbers = self.customers(stories)
        with Counts() as counts:
            first = self.story(numbers, partial(self.counted, counts))
            before = rows_in_all_tables()
            again = {type: self.counted(counts, self.messages(type, numbers)) for type in story.EVENTS}
            new_rows = rows_in_all_tables() - before
        return {"first": first, "again": again, "new_rows": new_rows / (stories * len(story.EVENTS))}

    def counted(self, counts, messages):
        seen = []
        for message in messages:
            counts.start()
            self.receiver.deliver(message)
            seen.append(counts.seen())
        middle = {name: statistics.median(one[name] for one in seen) for name in ("statements", "control")}
        calls = max((one["calls"] for one in seen), key=len)
        return middle | {"calls": calls, "most": max(one["statements"] for one in seen), "sql": seen[-1]["sql"]}

    def profile(self, stories):
        """Where the CPU goes, as text."""
        profiler, text = cProfile.Profile(time.process_time), StringIO()
        self.story(self.customers(stories), partial(profiler.runcall, self.timed))
        stats = pstats.Stats(profiler, stream=text)
        stats.sort_stats("cumulative").print_stats(90)
        stats.sort_stats("tottime").print_stats(30)
        return text.getvalue()

    def versions(self, _):
        database = connection.cursor().connection.info.server_version if connection.connection else 0
        return {
            "python": ".".join(map(str, sys.version_info[:3])),
            "django": django.get_version(),
            "stripe": stripe.VERSION,
            "postgresql": f"{database // 10000}.{database % 10000}" if database else "",
        }


def main():
    name, server, stand_in = sys.argv[1:]
    receiver = RECEIVERS[name](stand_in)
    changes = {"STRIPE_SECRET_KEY": KEY, "STRIPE_WEBHOOK_SECRET": story.SECRET, "ALLOWED_HOSTS": ["*"]}
    with scratch.site(server, **changes | receiver.changes):
        connection.settings_dict["CONN_MAX_AGE"] = None
        bench = Bench(receiver)
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            ask, number = json.loads(line)
            print(json.dumps(getattr(bench, ask)(number)), flush=True)


if __name__ == "__main__":
    main()
