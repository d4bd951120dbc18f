from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser
from django.utils import translation

from django_krcard.conf import conf
from django_krcard.exceptions import ErasureRefused
from django_krcard.management.base import KrcardCommand, as_json, could_not_run, not_all_well
from django_krcard.models import Customer
from django_krcard.services.privacy import erase_customer, export_customer, plan_erasure


class Command(KrcardCommand):
    help = (
        "What a person may ask for. “export” prints everything about one customer as JSON. “erase” tells what would be "
        "done and what forbids it; with --yes it does it. Exit code 0: done, or can be done; 1: something forbids it, "
        "or a card is left at Stripe; 2: it could not run."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("act", choices=["export", "erase"])
        parser.add_argument("customer", metavar="REFERENCE", help="The customer's reference, or their public id.")
        parser.add_argument("--yes", action="store_true", help="Erase. Without it nothing is changed.")
        parser.add_argument(
            "--force-personal",
            action="store_true",
            help="Also where a consent came from, which the law keeps as proof for now. Ask a lawyer first.",
        )
        parser.add_argument("--by", metavar="NAME", help="Who does it: staff:NAME in the timeline.")
        parser.add_argument("--reason", default="", help="Why, for the timeline. Needed to erase.")

    def handle(self, *, act: str, customer: str, **options: Any) -> None:
        row = customer_named(customer)
        with translation.override("en"):
            if act == "export":
                self.stdout.write(as_json(export_customer(row)))
            else:
                self.erase(row, **options)

    def erase(
        self, row: Customer, *, yes: bool, force_personal: bool, by: str | None, reason: str, **options: Any
    ) -> None:
        if not yes:
            plan = plan_erasure(row, force_personal=force_personal)
            self.stdout.write(as_json(asdict(plan)))
            if plan.forbidden:
                raise not_all_well(" ".join(plan.forbidden))
            return
        if not reason:
            raise could_not_run("Give a --reason: it stands in the timeline.")
        try:
            by = f"staff:{by}" if by else "system"
            did = erase_customer(row, by=by, reason=reason, force_personal=force_personal)
        except ErasureRefused as error:
            raise not_all_well(str(error)) from error
        self.stdout.write(as_json(asdict(did)))
        if did.cards_left:
            raise not_all_well(f"{did.cards_left} left at Stripe, which did not answer. krcard_run_due goes on trying.")


def customer_named(name: str) -> Customer:
    """In the mode of the key: the same reference may be somebody's in test mode, too."""
    try:
        wanted = {"public_id": UUID(name)}
    except ValueError:
        wanted = {"reference": name, "livemode": conf.LIVEMODE}
    customer = Customer.objects.filter(**wanted).first()
    if customer is None:
        raise could_not_run(f"There is no customer {name}.")
    return customer
