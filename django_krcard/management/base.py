"""What the commands share: how they end."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_krcard.exceptions import DatabaseIsBehind, GatewayError, StripeRefusedKey
from django_krcard.services.gate import midnight

#: Exit codes. 0: all is well. 1: it ran, and something needs a look. 2: it could not run.
NOT_ALL_WELL, COULD_NOT_RUN, STOPPED = 1, 2, 130


class KrcardCommand(BaseCommand):
    """Ends with an exit code that a scheduler can act on, and a sentence instead of a traceback."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except StripeRefusedKey as error:
            hint = "Is STRIPE_SECRET_KEY the right one, and may it do this?"
            raise could_not_run(f"Stripe refuses this site's key ({error.http_status}). {hint}") from error
        except (DatabaseIsBehind, ImproperlyConfigured) as error:
            raise could_not_run(str(error)) from error
        except GatewayError as error:
            raise could_not_run(f"Stripe was asked in vain: {error}. Try again later.") from error
        except KeyboardInterrupt:
            left = "Stopped. Nothing is lost: the next run goes on with what was on its way."
            raise CommandError(left, returncode=STOPPED) from None


def as_json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


def could_not_run(why: str) -> CommandError:
    return CommandError(why, returncode=COULD_NOT_RUN)


def not_all_well(what: str) -> CommandError:
    return CommandError(what, returncode=NOT_ALL_WELL)


def day(text: str) -> datetime:
    """Midnight, where days of the terms begin."""
    try:
        return midnight(date.fromisoformat(text))
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date: write 2026-11-01.") from None
