"""krcard_charge: a file of charges."""

import os
import sys
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import StripeRefusedKey, StripeUnavailable
from django_krcard.models import Charge, TimelineEntry
from django_krcard.sandbox import control
from django_krcard.services import backup
from tests.factories import as_used_terms

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("krcard_clock", "no_waiting"),
]


@pytest.fixture
def used(save_card):
    """Minji's mandate under which every use is charged, up to 100,000 won a month."""
    return save_card(as_used_terms(period="month"))


@pytest.fixture
def file(tmp_path):
    """A CSV file with these lines, by default under the shortest header."""

    def write(*lines, header="mandate,amount,reference"):
        path = tmp_path / "charges.csv"
        path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line for line in [header, *lines]))
        return path

    return write


def statuses():
    return dict(Charge.objects.values_list("reference", "status"))


def test_each_line_is_charged_once_however_often_the_file_is_run(play, file, used, ledger):
    path = file(f"{used.reference},1000,a", f"{used.public_id},2000,b", f"{used.reference},1000,a")
    for _ in range(2):
        ended = play("krcard_charge", path)
        assert (ended.code, ended.error) == (0, "")
        assert ended.lines[-1].startswith("3 succeeded; ")
    assert [paid["amount"] for paid in ledger()] == [1_000, 2_000]


def test_a_bad_line_is_told_with_its_number_and_stops_nobody(play, file, used, ledger):
    ended = play(
        "krcard_charge",
        file(
            f"{used.reference},1000,a",
            f'{used.reference},"1,000",b',
            "신한카드,1000,c",
            b"\xc7\xd1\xb1\xdb,1000,d",
            "",
            f"{used.reference},2000,e",
        ),
    )
    assert ended.code == 1
    assert ended.lines[:3] == [
        "line 3 has the amount '1,000': whole won are written 12900, and go from 100 to 99,999,999.",
        "line 4 names a mandate that does not exist: 신한카드.",
        "line 5 is not UTF-8. Spreadsheets call the format CSV UTF-8.",
    ]
    assert ended.lines[3].startswith("3 bad, 2 succeeded; ")
    assert ended.error.startswith("3 of 5 lines need a look.")
    assert [paid["amount"] for paid in ledger()] == [1_000, 2_000]


def test_what_the_terms_do_not_cover_is_refused_and_asks_nobody(play, file, used, ledger):
    ended = play("krcard_charge", file(f"{used.reference},30001,a", f"{used.reference},1000,b"))
    assert ended.code == 1
    assert ended.lines[0].startswith(f"line 2: {used.reference} a 30,001 won: refused amount_over_limit ")
    assert statuses() == {"a": "refused", "b": "succeeded"}
    assert len(ledger()) == 1


def test_a_decline_and_a_conflict_are_told(play, file, used, ledger):
    services.charge(used, 500, reference="b")
    control.decline_next("insufficient_funds")
    ended = play("krcard_charge", file(f"{used.reference},1000,a", f"{used.reference},1000,b"))
    assert ended.code == 1
    assert f"line 2: {used.reference} a 1,000 won: declined card_declined insufficient_funds" in ended.lines
    assert ended.lines[1].startswith(f"line 3: {used.reference} b 1,000 won: conflict ")
    # A decline is an answer, too: the same line again asks nobody.
    assert play("krcard_charge", file(f"{used.reference},1000,a")).code == 1
    assert len(ledger()) == 2


def test_an_outcome_that_nobody_knows_is_left_to_the_run(play, file, used, ledger, krcard_clock):
    control.set_delivery("dropped")
    control.fail_next("POST", "/v1/payment_intents", effect="after", status="timeout")
    ended = play("krcard_charge", file(f"{used.reference},1000,a", f"{used.reference},2000,b"))
    assert (ended.code, statuses()) == (1, {"a": "unknown", "b": "succeeded"})

    krcard_clock.advance(minutes=5)
    assert play("krcard_run_due").code == 0
    assert play("krcard_charge", file(f"{used.reference},1000,a", f"{used.reference},2000,b")).code == 0
    assert len(ledger()) == 2


def test_a_line_with_a_time_is_scheduled(play, file, mandate, ledger, krcard_clock):
    day = (timezone.now() + timedelta(days=3)).date()
    path = file(
        f"{day},{mandate.reference},12900,next,12월 이용료", header="due_at,mandate,amount,reference,description"
    )
    for _ in range(2):
        assert play("krcard_charge", path, "--by", "han").code == 0
    [charge] = Charge.objects.all()
    assert (charge.status, charge.description, charge.requested_by) == ("scheduled", "12월 이용료", "staff:han")
    assert charge.due_at.isoformat() == f"{day - timedelta(days=1)}T15:00:00+00:00"
    assert ledger() == []

    krcard_clock.advance(days=3)
    assert play("krcard_run_due").code == 0
    assert play("krcard_charge", path).code == 0
    assert len(ledger()) == 1


def test_an_empty_time_means_now(play, file, used):
    later = (timezone.now() + timedelta(days=3)).isoformat()
    lines = f"{used.reference},1000,a,", f"{used.reference},1000,b,{later}"
    assert play("krcard_charge", file(*lines, header="mandate,amount,reference,due_at")).code == 0
    assert statuses() == {"a": "succeeded", "b": "scheduled"}


def test_the_timeline_says_who_asked(play, file, used):
    play("krcard_charge", file(f"{used.reference},1000,a"))
    assert TimelineEntry.objects.get(kind="charge_requested").actor == "system"
    play("krcard_charge", file(f"{used.reference},1000,b"), "--by", "han")
    assert TimelineEntry.objects.filter(kind="charge_requested").latest("pk").actor == "staff:han"
    assert play("krcard_charge", file(), "--by", "x" * 300).code == 2


def test_json_is_one_object_a_line(play, file, used):
    ended = play("krcard_charge", file(f"{used.reference},1000,a", f"{used.reference},x,b"), "--json")
    good, bad, sums = ended.objects
    charge = Charge.objects.get()
    assert good == {
        "line": 2,
        "outcome": "succeeded",
        "mandate": used.reference,
        "reference": "a",
        "amount": 1_000,
        "code": "",
        "message": "",
        "charge": str(charge.public_id),
    }
    assert (bad["line"], bad["outcome"], bad["amount"]) == (3, "bad", None)
    assert sums["summary"] == {"succeeded": 1, "bad": 1}
    assert ended.code == 1


def test_a_dry_run_tells_each_verdict_and_changes_nothing(play, file, used, mandate, ledger):
    services.charge(used, 1_000, reference="paid")
    before = TimelineEntry.objects.count()
    later = (timezone.now() + timedelta(days=400)).isoformat()
    ended = play(
        "krcard_charge",
        file(
            f"{used.reference},1000,new,",
            f"{used.reference},1000,paid,",
            f"{used.reference},2000,paid,",
            f"{used.reference},30001,much,",
            f"{mandate.reference},12900,next,{later}",
            f"{used.reference},oops,r,",
            header="mandate,amount,reference,due_at",
        ),
        "--dry-run",
        "--json",
    )
    *told, sums = ended.objects
    assert [(each["outcome"], each["code"]) for each in told] == [
        ("allowed", ""),
        ("succeeded", ""),
        ("conflict", ""),
        ("refused", "amount_over_limit"),
        ("allowed", ""),
        ("bad", ""),
    ]
    assert sums["summary"]["allowed"] == 2
    assert ended.code == 1
    assert (Charge.objects.count(), TimelineEntry.objects.count(), len(ledger())) == (1, before, 1)


def test_a_dry_run_says_of_a_plan_that_it_would_wait(play, file, mandate):
    services.hold(mandate, by="staff:han", reason="a complaint")
    later = (timezone.now() + timedelta(days=3)).isoformat()
    path = file(f"{mandate.reference},12900,a,{later}", header="mandate,amount,reference,due_at")
    ended = play("krcard_charge", path, "--dry-run")
    assert ended.code == 0
    assert ": allowed mandate_not_active " in ended.lines[0]
    assert play("krcard_charge", path).code == 0
    assert statuses() == {"a": "scheduled"}


def test_it_reads_what_comes_through_a_pipe(play, used, monkeypatch):
    reading, writing = os.pipe()
    with open(writing, "wb") as pipe:
        pipe.write(f"mandate,amount,reference\n{used.reference},1000,a".encode())
    with open(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert play("krcard_charge", "-").code == 0
    assert statuses() == {"a": "succeeded"}


@pytest.mark.parametrize("name", ["nothing.csv", ""])
def test_without_a_file_it_could_not_run(play, tmp_path, name):
    ended = play("krcard_charge", tmp_path / name)
    assert ended.code == 2
    assert "cannot be opened" in ended.error


def test_without_its_header_nothing_is_charged(play, file, used, ledger):
    ended = play("krcard_charge", file(header=f"{used.reference},1000,a"))
    assert ended.code == 2
    assert "is not the header mandate,amount,reference[,due_at][,description]" in ended.error
    assert ledger() == []


def test_with_a_refused_key_nothing_more_is_begun(play, file, used, ledger):
    backup.refuse_if_behind(again=True)
    control.fail_next("POST", "/v1/payment_intents", status=401)
    ended = play("krcard_charge", file(*(f"{used.reference},1000,{number}" for number in range(5))))
    assert ended.code == 2
    assert "STRIPE_SECRET_KEY" in ended.error
    assert "sk_test" not in ended.error + ended.out
    assert (Charge.objects.count(), ledger()) == (1, [])


def test_when_stripe_does_not_answer_at_the_start_nothing_is_charged(play, file, used, monkeypatch):
    def lost(*args, **kwargs):
        raise StripeUnavailable("APIConnectionError", code="")

    monkeypatch.setattr(gateway, "payment_intents_since", lost)
    ended = play("krcard_charge", file(f"{used.reference},1000,a"))
    assert (ended.code, Charge.objects.count()) == (2, 0)
    assert "asked in vain" in ended.error


def test_an_error_of_one_line_is_told_by_name_and_stops_nobody(play, file, used, monkeypatch, caplog):
    create = gateway.create_payment_intent

    def sometimes(params, **kwargs):
        if params["metadata"]["krcard_reference"] == "a":
            raise ZeroDivisionError("minji@example.com")
        return create(params, **kwargs)

    monkeypatch.setattr(gateway, "create_payment_intent", sometimes)
    ended = play("krcard_charge", file(f"{used.reference},1000,a", f"{used.reference},1000,b"))
    assert ended.code == 1
    assert f"line 2: {used.reference} a 1,000 won: error ZeroDivisionError" in ended.lines
    assert "minji@" not in ended.out
    assert statuses() == {"a": "sending", "b": "succeeded"}


succeeded_when_told = []


def note(notice):
    succeeded_when_told.append(Charge.objects.filter(status="succeeded").count())


def test_customers_are_told_when_all_are_charged(play, file, used, settings):
    settings.KRCARD_NOTIFIER = f"{__name__}.note"
    succeeded_when_told.clear()
    play("krcard_charge", file(f"{used.reference},1000,a", f"{used.reference},2000,b"))
    assert succeeded_when_told == [2, 2]


class Slow:
    """A Stripe that answers when enough requests are there."""

    def __init__(self, at_once):
        self.all_here = threading.Barrier(at_once)
        self.paid = []

    def create(self, params, *, key, in_turn=True):
        self.all_here.wait(timeout=10)
        self.paid.append(params["metadata"]["krcard_reference"])
        return gateway.PaymentIntent(
            id=f"pi_{key}", status="succeeded", amount=params["amount"], currency="krw", customer=params["customer"]
        )


def test_many_are_on_their_way_at_a_time(play, file, used, settings, monkeypatch):
    stripe = Slow(at_once=4)
    settings.KRCARD_SANDBOX, settings.KRCARD_IN_FLIGHT = False, 4
    monkeypatch.setattr(gateway, "create_payment_intent", stripe.create)
    monkeypatch.setattr(gateway, "payment_intents_since", lambda *args, **kwargs: iter(()))
    assert play("krcard_charge", file(*(f"{used.reference},1000,{number}" for number in range(8)))).code == 0
    assert set(stripe.paid) == set("01234567")
    assert set(statuses().values()) == {"succeeded"}


def test_those_on_their_way_are_written_down_when_the_key_is_refused(play, file, used, settings, monkeypatch):
    def create(params, *, key, in_turn):
        if params["metadata"]["krcard_reference"] == "0":
            raise StripeRefusedKey("AuthenticationError", http_status=401)
        return stripe.create(params, key=key)

    stripe = Slow(at_once=3)
    settings.KRCARD_SANDBOX, settings.KRCARD_IN_FLIGHT = False, 4
    monkeypatch.setattr(gateway, "create_payment_intent", create)
    monkeypatch.setattr(gateway, "payment_intents_since", lambda *args, **kwargs: iter(()))
    assert play("krcard_charge", file(*(f"{used.reference},1000,{number}" for number in range(4)))).code == 2
    assert statuses() == {"0": "ready", "1": "succeeded", "2": "succeeded", "3": "succeeded"}
