"""krcard_verify and krcard_seal, as a scheduler runs them."""

from datetime import timedelta

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Customer, Seal
from django_krcard.sandbox.models import Resource
from tests.factories import CustomerFactory, consent_of
from tests.test_subscriptions import price, stripe
from tests.unguarded import tamper

__all__ = ["price", "stripe"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_all_is_well(play, mandate):
    assert play("krcard_seal").code == 0
    ended = play("krcard_verify", "--json")
    assert ended.code == 0
    assert ended.objects[-1] | {"seconds": 0} == {"records": 2, "at_stripe": 0, "findings": 0, "seconds": 0}


def test_a_finding_is_a_line_and_an_exit_code(play, mandate):
    tamper("UPDATE krcard_consent SET text = 'Anything goes.'")
    ended = play("krcard_verify")
    assert ended.code == 1
    assert ended.lines[0].startswith(f"changed: {mandate.consent.public_id}: the record does not match its hash")
    assert [found["kind"] for found in play("krcard_verify", "--json").objects[:-1]] == ["changed"]


def test_a_line_kept_elsewhere(play, mandate, tmp_path):
    file = tmp_path / "seals.txt"
    line = play("krcard_seal", "--file", file).lines[0]
    assert file.read_text() == f"{line}\n"
    assert play("krcard_verify", "--seal", line, "--expect", file).code == 0

    tamper("DELETE FROM krcard_sealedconsent")
    tamper("DELETE FROM krcard_seal")
    assert play("krcard_verify").code == 0
    assert play("krcard_verify", "--expect", file).lines[0].startswith("seal_cut: seal 1:")
    assert play("krcard_verify", "--seal", line).code == 1
    assert play("krcard_verify", "--seal", "something else").code == 2
    assert play("krcard_verify", "--expect", tmp_path / "nowhere").code == 2


def test_a_seal_is_printed_mailed_and_said_again(play, mandate, tmp_path):
    ended = play("krcard_seal", "--mail", "keeper@example.com", "--json")
    seal = Seal.objects.get()
    assert ended.objects[0]["root"] == seal.root
    assert mail.outbox[0].body == ended.objects[0]["line"] + "\n"
    assert mail.outbox[0].to == ["keeper@example.com"]

    assert play("krcard_seal").out == "Nothing to seal.\n"
    assert play("krcard_seal", "--last").lines == [ended.objects[0]["line"]]
    assert play("krcard_seal", "--last", "--file", tmp_path).code == 2


# --- Stripe as a witness --------------------------------------------------------------------------


def test_stripe_knows_the_same(play, mandate):
    services.charge(mandate, 12_900, reference="2026-11")
    ended = play("krcard_verify", "--with-stripe", "--json")
    assert ended.code == 0
    # The session, its setup, and the payment.
    assert ended.objects[-1]["at_stripe"] == 3


def test_somebody_who_has_the_key_and_wrote_it_anew_is_found_at_stripe(play, mandate, settings):
    services.charge(mandate, 12_900, reference="2026-11")
    tell_otherwise(mandate.consent)
    ended = play("krcard_verify", "--with-stripe")
    kinds = [line.partition(":")[0] for line in ended.lines[:-1]]
    assert (ended.code, kinds) == (1, ["witness_differs"] * 3)


def tell_otherwise(consent):
    for row in Resource.objects.filter(body__metadata__krcard_consent=str(consent.public_id)):
        row.body["metadata"]["krcard_consent_hash"] = "0" * 64
        row.save()


@pytest.mark.parametrize("ours", [True, False])
def test_stripe_was_told_of_a_consent_that_is_not_here(play, mandate, ours):
    for row in Resource.objects.filter(body__metadata__krcard_consent=str(mandate.consent.public_id)):
        row.body["metadata"]["krcard_consent"] = "not even an id"
        row.save()
    if not ours:
        # Another site's, on the same account.
        Customer.objects.update(stripe_id="cus_ours")
    kinds = [line.partition(":")[0] for line in play("krcard_verify", "--with-stripe").lines[:-1]]
    assert kinds == (["witness_gone"] * 2 if ours else [])


def test_only_since_a_day(play, mandate):
    tomorrow = timezone.localdate() + timedelta(days=2)
    ended = play("krcard_verify", "--with-stripe", "--since", tomorrow, "--json")
    assert ended.objects[-1]["at_stripe"] == 0


def test_verify_changes_nothing(play, membership):
    consent_of(CustomerFactory(), membership)
    with CaptureQueriesContext(connection) as asked:
        play("krcard_verify")
    statements = {query["sql"].lstrip().split()[0].upper() for query in asked}
    assert statements == {"SELECT"}


def test_subscriptions_are_witnesses_and_payments_of_their_invoices_name_nobody(play, mandate, price):
    services.subscribe(mandate, price=price())
    ended = play("krcard_verify", "--with-stripe", "--json")
    assert ended.code == 0
    # The session, its setup, the payment that Stripe made, and the subscription.
    assert ended.objects[-1]["at_stripe"] == 4

    tell_otherwise(mandate.consent)
    ended = play("krcard_verify", "--with-stripe")
    kinds = [line.partition(":")[0] for line in ended.lines[:-1]]
    assert (ended.code, kinds) == (1, ["witness_differs"] * 3)


def test_a_customer_who_was_deleted_at_stripe_is_still_ours(play, mandate):
    customer = mandate.customer
    for row in Resource.objects.filter(body__metadata__krcard_consent=str(mandate.consent.public_id)):
        row.body["metadata"]["krcard_consent"] = "not even an id"
        row.save()
    Customer.objects.update(stripe_id=None, former_stripe_ids=["cus_older", customer.stripe_id])
    kinds = [line.partition(":")[0] for line in play("krcard_verify", "--with-stripe").lines[:-1]]
    assert kinds == ["witness_gone"] * 2
