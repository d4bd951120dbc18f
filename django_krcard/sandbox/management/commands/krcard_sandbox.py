import contextlib
import json
import signal
from argparse import ArgumentParser
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_krcard.sandbox.checks import refuse_in_production
from django_krcard.sandbox.errors import SandboxError
from django_krcard.sandbox.overview import overview
from django_krcard.sandbox.scenarios import SCENARIOS, Field, Scenario
from django_krcard.sandbox.server import SandboxServer


class Command(BaseCommand):
    help = "Plays the customer, the issuer and the weather on the Stripe sandbox, and serves it to any Stripe SDK."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
        status = actions.add_parser("status", help="What is in the box.", description="What is in the box.")
        status.add_argument("--json", action="store_true", help="For a machine to read.")
        for name, scenario in SCENARIOS.items():
            add_fields(actions.add_parser(name, help=scenario.help, description=scenario.help), scenario)
        about = "Answers Stripe's API on a port of this machine, for an SDK of any language."
        serve = actions.add_parser("serve", help=about, description=about)
        serve.add_argument("--host", default="127.0.0.1", help="Default: 127.0.0.1, so nobody else can reach it.")
        serve.add_argument("--port", default=12111, type=int, help="Default: 12111. 0 is any free one.")

    def handle(self, *, action: str, **options: Any) -> None:
        try:
            refuse_in_production()
        except ImproperlyConfigured as refusal:
            raise CommandError(str(refusal)) from refusal
        if action == "status":
            return self.status(**options)
        if action == "serve":
            return self.serve(**options)
        scenario = SCENARIOS[action]
        said = {field.name: as_text(options[field.name]) for field in scenario.fields}
        try:
            self.stdout.write(scenario.play(said))
        except SandboxError as error:
            raise CommandError(str(error)) from error

    def status(self, *, json: bool, **options: Any) -> None:
        box = overview()
        self.stdout.write(as_json(box) if json else as_lines(box))

    def serve(self, *, host: str, port: int, **options: Any) -> None:
        try:
            server = SandboxServer(host, port)
        except (OSError, OverflowError) as error:
            raise CommandError(f"Cannot listen on {host}, port {port}: {error}") from error
        with server, stopped_politely():
            if not server.is_loopback:
                self.stderr.write(self.style.WARNING("Whoever reaches this machine can use the sandbox."))
            self.stdout.write(HOW_TO.format(address=server.address, host=host, port=server.server_address[1]))
            self.stdout.flush()
            server.serve_forever()
        self.stdout.write("Stopped.")


HOW_TO = """\
The Stripe sandbox answers on {address} with any key sk_test_… No money moves.

  Python   StripeClient("sk_test_x", base_addresses={{"api": "{address}"}})
  Node     new Stripe("sk_test_x", {{protocol: "http", host: "{host}", port: {port}}})
  curl     curl {address}/v1/customers -u sk_test_x:

Is the shop another site than this one? manage.py krcard_sandbox pages-at http://127.0.0.1:8000
Play the customer in another terminal: manage.py krcard_sandbox authorise cs_test_…
Stop with Ctrl-C."""


def add_fields(parser: ArgumentParser, scenario: Scenario) -> None:
    for field in scenario.fields:
        choices = field.choices or None
        if field.is_required:
            parser.add_argument(field.name, metavar=field.name.upper(), choices=choices, help=field.help)
        elif field.is_positional:
            parser.add_argument(field.name, metavar=field.name.upper(), nargs="?", default="", help=field.help)
        elif field.is_flag:
            parser.add_argument(f"--{field.name}", action="store_true", help=field.help)
        else:
            parser.add_argument(f"--{field.name}", default=field.default, choices=choices, help=about(field))


def about(field: Field) -> str:
    return f"{field.help} Default: {field.default}." if field.default not in ("", "0") else field.help


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)


def as_json(box: dict[str, Any]) -> str:
    return json.dumps(box, indent=2, ensure_ascii=False)


def as_lines(box: dict[str, Any]) -> str:
    ahead = f", {box['clock_offset']} s ahead" if box["clock_offset"] else ""
    lines = [
        f"Clock          {box['now']}{ahead}",
        f"Delivery       {box['delivery']}, {box['event_format']}",
        f"Types          {', '.join(box['enabled_types'])}",
    ]
    if box["pages_at"]:
        lines.append(f"Hosted pages   {box['pages_at']}")
    for title, name, line in LISTS:
        lines += ["", title, *(f"  {line(each)}" for each in box[name])]
        if not box[name]:
            lines.append("  none")
    return "\n".join(lines)


def object_line(each: dict[str, Any]) -> str:
    return " ".join(str(each[name]) for name in ("id", "status", "brand", "last4", "amount", "url") if name in each)


def event_line(event: dict[str, Any]) -> str:
    tried = f" (tried {event['attempts']} times, answer {event['last_status']})" if event["attempts"] else ""
    return f"{event['id']} {event['type']}{tried}"


def coming_line(fault: dict[str, Any]) -> str:
    return " ".join(str(value) for value in fault.values() if value is not None)


LISTS: list[tuple[str, str, Callable[[dict[str, Any]], str]]] = [
    ("Comes next", "coming", coming_line),
    ("Open sessions", "open_sessions", object_line),
    ("Held events", "held_events", event_line),
    ("Newest objects", "newest", object_line),
]


@contextlib.contextmanager
def stopped_politely() -> Any:
    """SIGTERM ends it as Ctrl-C does, and neither with a traceback.

    SIGINT is set as well: a shell starts what runs in the background with that one ignored.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
