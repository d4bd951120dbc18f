import os

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import Q
from django.utils import translation

from shop.people import PASSWORD, PEOPLE


class Command(BaseCommand):
    help = "Makes the people and publishes the terms of the demo. Running it again changes nothing."

    def handle(self, *args, **options) -> None:
        if not settings.DEBUG:
            raise CommandError("Everybody knows these log-ins: seed_demo runs with DEBUG only.")
        with transaction.atomic():
            reviewers = self.make_reviewers()
            for person in PEOPLE:
                self.make_user(person, reviewers)
        # As a site would on each deploy. Have terms of your own read by a lawyer.
        call_command("krcard_terms", "load", settings.BASE_DIR / "terms", "--publish", stdout=self.stdout)
        self.print_log_ins()

    def make_reviewers(self) -> Group:
        """Staff who look at agreements, prove and charge and end them, and change nothing else."""
        acts = ["charge_mandate", "cancel_mandate", "refund_charge", "cancel_charge", "send_notice", "replay_event"]
        acts += ["export_evidence", "record_consent", "request_amendment", "change_at_stripe"]
        reviewers, _ = Group.objects.get_or_create(name="Card reviewers")
        reviewers.permissions.set(
            Permission.objects.filter(
                Q(codename__startswith="view_") | Q(codename__in=acts), content_type__app_label="krcard"
            )
        )
        return reviewers

    def make_user(self, person, reviewers) -> None:
        User = get_user_model()
        if User.objects.filter(username=person.username).exists():
            return
        user = User.objects.create_user(
            person.username,
            f"{person.username}@example.com",
            PASSWORD,
            # Family name first, in one field: Django would turn the two around.
            first_name=person.name,
            is_staff=person.is_staff,
            is_superuser=person.is_superuser,
        )
        if person.is_staff and not person.is_superuser:
            user.groups.add(reviewers)

    def print_log_ins(self) -> None:
        self.stdout.write(f"\nhttp://127.0.0.1:{os.environ.get('PORT', '8000')}/\n\n")
        with translation.override("en"):
            for person in PEOPLE:
                self.stdout.write(f"  {person.username:<10}{PASSWORD:<14}{person.role}")
        self.stdout.write("")
