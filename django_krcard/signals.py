"""What a site can listen to.

Every signal is sent after the transaction has committed, through ``send_robust``, with keyword arguments only.
A receiver's exception is logged by Django and changes nothing here.
"""

from typing import Any

from django.db import transaction
from django.dispatch import Signal

#: consent: Consent
consent_given = Signal()
#: mandate: Mandate, payment_method: PaymentMethod
card_saved = Signal()
#: payment_method: PaymentMethod
card_removed = Signal()
#: mandate: Mandate
mandate_activated = Signal()
#: mandate: Mandate
mandate_ended = Signal()
#: amendment: Amendment (its consent is in force, or will be on amendment.effective_on)
amendment_agreed = Signal()
#: charge: Charge
charge_succeeded = Signal()
#: charge: Charge (declined, action_required or cancelled)
charge_failed = Signal()
#: mandate: Mandate, charge: Charge | None, code: str
charge_refused = Signal()
#: charge: Charge, refund: Refund | None (None: paid back in Stripe's dashboard)
charge_refunded = Signal()
#: mandate: Mandate, charge: Charge
dispute_opened = Signal()
#: mandate: Mandate, charge: Charge (won, lost, …: charge.dispute_status)
dispute_closed = Signal()
#: notice: Notice (it was sent)
notice_sent = Signal()
#: event: Event
event_processed = Signal()


def send_on_commit(signal: Signal, sender: type, **kwargs: Any) -> None:
    """Send ``signal`` once the current transaction has committed, or now if none is open."""
    transaction.on_commit(lambda: signal.send_robust(sender, **kwargs), robust=True)
