from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import CommandParser

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import KrcardError
from django_krcard.gateway import WebhookEndpoint
from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.services import endpoints
from django_krcard.webhooks.handlers import HANDLERS

ONLY_NOW = "Stripe tells it this once. Put it into STRIPE_WEBHOOK_SECRET and restart the site."


class Command(KrcardCommand):
    help = (
        "Makes the webhook endpoint at Stripe: for this address, with the events that this site handles and the API "
        "version that it reads. Prints the signing secret, once. Exit code 0: it is as it should be; 1: it is there "
        "already, or not all could be set; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "url", help="The address of krcard:webhook, for example https://shop.example/krcard/webhook/"
        )
        parser.add_argument("--update", action="store_true", help="An endpoint is there already: set its events.")
        parser.add_argument("--force", action="store_true", help="Take an address that is not that of krcard:webhook.")
        parser.add_argument("--secret-file", type=Path, help="Write the secret into this new file, for its owner only.")
        parser.add_argument("--dry-run", action="store_true", help="Tell what would be done, and change nothing.")
        parser.add_argument("--json", action="store_true", help="One JSON object, for a machine to read.")

    def handle(self, *, url: str, update: bool, force: bool, dry_run: bool, json: bool, **options: Any) -> None:
        self.json = json
        refuse(url, force=force)
        there = [each for each in gateway.webhook_endpoints() if each.url == url]
        if len(there) > 1:
            names = ", ".join(each.id for each in there)
            raise not_all_well(f"{len(there)} endpoints have this address: {names}. Delete all but one first.")
        if there and not update:
            raise not_all_well(f"{there[0].id} has this address, and nothing was changed. --update sets its events.")
        if there:
            self.update(there[0], dry_run=dry_run)
        else:
            self.create(url, options["secret_file"], dry_run=dry_run)

    def create(self, url: str, secret_file: Path | None, *, dry_run: bool) -> None:
        if dry_run:
            self.tell("would make", WebhookEndpoint("", url, True, frozenset(HANDLERS), conf.STRIPE_API_VERSION))
            return
        if not secret_file:
            made = endpoints.create(url, HANDLERS)
            self.tell("made", made, secret=made.secret)
            return
        # Before Stripe is asked: a secret that could not be written down would be lost.
        with open_for_its_owner(secret_file) as file:
            try:
                made = endpoints.create(url, HANDLERS)
            except KrcardError:
                secret_file.unlink()
                raise
            file.write(f"{made.secret}\n")
        self.tell("made", made, secret_file=str(secret_file))

    def update(self, endpoint: WebhookEndpoint, *, dry_run: bool) -> None:
        needed = frozenset(HANDLERS)
        if endpoint.enabled and endpoint.events == needed:
            self.tell("is as it should be", endpoint)
        elif dry_run:
            self.tell("would set the events of", endpoint)
        else:
            self.tell("updated", endpoints.update(endpoint, HANDLERS))
        if endpoint.api_version != conf.STRIPE_API_VERSION:
            spoken = endpoint.api_version or "the account's own version"
            raise not_all_well(
                f"{endpoint.id} speaks {spoken}, not {conf.STRIPE_API_VERSION}, and that cannot be changed: "
                "delete it and make another one."
            )

    def tell(self, done: str, endpoint: WebhookEndpoint, *, secret: str = "", secret_file: str = "") -> None:
        """The secret goes to stdout and nowhere else."""
        told = {
            "done": done,
            "id": endpoint.id,
            "url": endpoint.url,
            "api_version": endpoint.api_version,
            "events": sorted(endpoint.events),
        }
        if self.json:
            self.stdout.write(as_json(told | {"secret": secret, "secret_file": secret_file}))
            return
        version = endpoint.api_version or "the account's own version"
        name = f"{endpoint.id} " if endpoint.id else ""
        self.stdout.write(f"{done} {name}{endpoint.url}: {len(endpoint.events)} events, {version}")
        if secret:
            self.stdout.write(f"{secret}\n{ONLY_NOW}")
        if secret_file:
            self.stdout.write(f"The secret is in {secret_file}. {ONLY_NOW}")


def refuse(url: str, *, force: bool) -> None:
    parts = urlsplit(url)
    is_stand_in = bool(conf.SANDBOX or conf.STRIPE_API_BASE)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_stand_in):
        raise could_not_run(f"{url!r} is no https:// address. Messages about money go encrypted or not at all.")
    if not parts.netloc or parts.query or parts.fragment or parts.username:
        raise could_not_run(f"{url!r} is no plain address: scheme, host and path.")
    if not force and not endpoints.is_ours(url):
        raise could_not_run(
            f"This site does not expect messages at {url}, but at {endpoints.our_url() or endpoints.our_path()}. "
            "With --force it is made all the same."
        )


def open_for_its_owner(path: Path):
    """A new file that nobody else can read, from its first moment on."""
    try:
        return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise could_not_run(f"{path} cannot be written: {error.strerror}.") from error
