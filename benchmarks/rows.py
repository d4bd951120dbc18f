"""Charges that are due, written straight into the database: through the services it would take hours."""

from collections import Counter
from datetime import timedelta

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Count, Value
from django.db.models.functions import Concat
from django.utils import timezone

from django_krcard import services, tasks
from django_krcard.conf import conf
from django_krcard.models import (
    Charge,
    Consent,
    ConsentOrigin,
    Customer,
    Mandate,
    Notice,
    PaymentMethod,
    Terms,
    TermsText,
    TimelineEntry,
)
from django_krcard.services import charges, consents, run, seals
from django_krcard.services.terms import rendered, sha256

__all__ = ["asked_last", "audit", "due_charges", "left", "put_away", "run", "tasks", "tasks_waiting"]

CHUNK = 2_000


def due_charges(numbers, *, address=""):
    """For each of the ``numbers`` a customer with a membership, whose payment is due now. ``address``: of notices."""
    text = membership()
    for start in range(0, len(numbers), CHUNK):
        with transaction.atomic():
            customers = Customer.objects.bulk_create(
                Customer(reference=str(n), stripe_id=f"cus_{n}", notice_address=address)
                for n in numbers[start : start + CHUNK]
            )
            agreed = Consent.objects.bulk_create([consent_of(customer, text) for customer in customers])
            cards = PaymentMethod.objects.bulk_create([card_of(customer) for customer in customers])
            rows = zip(customers, agreed, cards, strict=True)
            mandates = Mandate.objects.bulk_create([mandate_of(*row) for row in rows])
            Charge.objects.bulk_create([charge_of(mandate) for mandate in mandates])
    with connection.cursor() as cursor:
        # Without statistics PostgreSQL does not know yet that there are many rows.
        cursor.execute("ANALYZE")


def asked_last(number):
    """(idempotency key, params) of the charges that were made last."""
    return list(Charge.objects.order_by("-pk").values_list("idempotency_key", "params")[:number])


def put_away():
    """Each stand-in counts its payments from 1 again, and a payment is known once."""
    paid = Charge.objects.filter(stripe_id__startswith="pi_standin_")
    paid.update(stripe_id=Concat(Value("pi_of_"), "idempotency_key"))


def membership():
    if known := TermsText.objects.select_related("terms").first():
        return known
    terms = Terms.objects.create(
        slug="membership", frequency="recurring", period="month", amount_kind="fixed", amount=12_900
    )
    terms.texts.create(
        language="ko",
        title="멤버십 자동결제 약관",
        permission="회사가 고객을 대신하여 멤버십 이용료 결제를 시작하는 것에 동의합니다.",
        timing="매월 1회 결제합니다.",
        amount_basis="매회 12,900원(부가세 포함)입니다.",
        cancellation="언제든지 내 카드 화면에서 해지할 수 있으며 해지 즉시 결제가 중단됩니다.",
        items=[{"key": "autopay", "label": "자동결제 이용 동의", "required": True}],
    )
    services.publish_terms(terms, by="system")
    return membership()


def consent_of(customer, text, before="", origin=None):
    words = rendered(text)
    consent = Consent(
        customer=customer,
        terms=text.terms,
        language=text.language,
        rule=text.terms.rule.as_dict(),
        text=words,
        text_sha256=sha256(words),
        ticked=["autopay"],
        origin_sha256=consents.origin_sha256(origin or ConsentOrigin()),
        given_at=an_hour_ago(),
        key_id=list(conf.EVIDENCE_KEYS)[-1],
        previous_hash=before,
    )
    consent.record_hash = consents._hash(consent, conf.EVIDENCE_KEYS[consent.key_id])
    return consent


def consents_of_many(number, per_customer):
    """Consents with where they came from, ``per_customer`` in a chain, and a seal over all of them."""
    text = membership()
    for start in range(0, number // per_customer, CHUNK):
        numbers = range(start, min(start + CHUNK, number // per_customer))
        customers = Customer.objects.bulk_create(Customer(reference=f"c{n}") for n in numbers)
        before = dict.fromkeys(customers, "")
        for _turn in range(per_customer):
            agreed = [consent_of(customer, text, before[customer], origin_of(customer)) for customer in customers]
            Consent.objects.bulk_create(agreed)
            ConsentOrigin.objects.bulk_create(origin_of(consent.customer, consent=consent) for consent in agreed)
            before = {consent.customer: consent.record_hash for consent in agreed}
    seals.make()


def origin_of(customer, **consent):
    return ConsentOrigin(salt=customer.reference, ip_address="203.0.113.7", user_agent="Benchmark", **consent)


def card_of(customer):
    return PaymentMethod(
        customer=customer, stripe_id=f"pm_{customer.reference}", type="kr_card", brand="shinhan", last4="1234"
    )


def mandate_of(customer, consent, card):
    return Mandate(
        reference=f"B{customer.reference}",
        customer=customer,
        consent=consent,
        payment_method=card,
        status=Mandate.Status.ACTIVE,
        activated_at=consent.given_at,
    )


def charge_of(mandate):
    due_at = an_hour_ago()
    return Charge(
        mandate=mandate,
        consent=mandate.consent,
        payment_method=mandate.payment_method,
        reference="2026-11",
        amount=mandate.consent.rule["amount"],
        status=Charge.Status.SCHEDULED,
        due_at=due_at,
        next_step_at=due_at,
        requested_by="system",
        idempotency_key=charges._key(mandate, "2026-11", 1),
    )


def an_hour_ago():
    return timezone.now().replace(microsecond=0) - timedelta(hours=1)


# --- afterwards ----------------------------------------------------------------------------------


def tasks_waiting():
    """Those that no worker has begun."""
    return apps.get_model("django_tasks_database", "DBTaskResult").objects.ready().count()


def left():
    """What somebody still has to do."""
    return Charge.objects.exclude(status="succeeded").count() + Notice.objects.filter(sent_at=None).count()


def audit(books, number, *, notices):
    """What is wrong, in words: the stand-in's books beside our rows, when all is done."""
    if twice := [customer for customer, payments in books["customers"].items() if payments > 1]:
        yield f"DOUBLE: {len(twice)} customers paid more than once"
    if len(books["customers"]) != number:
        yield f"LOST: {len(books['customers'])} customers paid, {number} charges were due"
    statuses = Counter(Charge.objects.values_list("status", flat=True))
    if statuses != {"succeeded": number}:
        yield f"LOST: here they are {dict(statuses)}"
    if Charge.objects.exclude(stripe_id=None).count() != number:
        yield "LOST: a charge does not know its payment"
    told = TimelineEntry.objects.filter(kind="charge_succeeded").values("mandate").annotate(times=Count("pk"))
    if told.filter(times=1).count() != number:
        yield "WRONG: the timeline does not tell once of each payment"
    if Notice.objects.exclude(sent_at=None).count() != notices * number:
        yield "WRONG: not each customer has one notice"
