"""A first payment: called off where it could still be made elsewhere, judged, and its customer on the way to Stripe."""

from __future__ import annotations

from django.db.models import Q

from django_krcard.models import CardSetup, Charge, Consent, Customer
from django_krcard.services import attempts, backup, checkout, direct, setups
from django_krcard.services.acts import finish
from django_krcard.services.attempts import Way
from django_krcard.services.first_payments import Payment
from django_krcard.transactions import refuse_inside_transaction

Status = Charge.Status


def start_first_payment(
    consent: Consent,
    amount: int,
    *,
    reference: str,
    description: str = "",
    flow: str = "checkout",
    success_url: str = "",
    cancel_url: str = "",
    locale: str = "auto",
    return_url: str = "",
    method_type: str = "kr_card",
) -> CardSetup:
    """Charge ``amount`` whole won while the card is saved under ``consent``, its customer being here; send them to the
    ``redirect_url`` of the attempt. Its ``charge`` is the payment.

    The terms are asked as for any charge, taken as in force with this payment. One reference is paid once under a
    mandate; what was declined, expired or withdrawn may be begun anew. The card is saved when the payment succeeded.
    By Checkout it takes ``success_url`` and ``cancel_url``, by the Direct API ``return_url``.

    Raises ``ChargeRefused`` (``.code``, ``.message``), ``ReferenceConflict``, ``ConsentRefused``, ``GatewayError``.
    """
    payment = Payment(amount, reference, description)
    way = Way(flow, method_type if flow == CardSetup.Flow.DIRECT else "", payment)
    if setup := make_room(consent.customer, consent.terms.slug, way):
        return setup
    setup = attempts.under(consent, way)
    if flow == CardSetup.Flow.DIRECT:
        return direct.open_intent(setup, return_url=return_url)
    return checkout.open_session(setup, success_url=success_url, cancel_url=cancel_url, locale=locale)


def make_room(customer: Customer, slug: str, way: Way) -> CardSetup | None:
    """Before a payment is begun: call off at Stripe whatever first payment of this customer under the terms ``slug``
    could be made beside it. Returns the attempt with which this very payment was made already.

    Raises ``GatewayError`` when Stripe does not answer: then nothing may be begun.
    """
    refuse_inside_transaction()
    backup.refuse_if_behind()
    payments = Charge.objects.filter(
        setup__isnull=False, mandate__customer=customer, mandate__consent__terms__slug=slug
    ).select_related("setup__mandate__customer", "setup__consent__customer")
    same = Q(reference=way.payment.reference, amount=way.payment.amount)
    # One that was declined is closed as well before its reference is used once more.
    for charge in payments.filter(Q(status=Status.ACTION_REQUIRED) | Q(same, status=Status.DECLINED)):
        if not (charge.setup.is_open and way.is_that_of(charge.setup)):
            finish(setups.closing(charge.setup))
    made = payments.filter(same, status__in=[Status.SUCCEEDED, Status.PROCESSING])
    return next((charge.setup for charge in made if not charge.setup.mandate.has_ended), None)
