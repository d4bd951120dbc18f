"""An agreement with a past, and a person who verifies what they were given."""

import io
import subprocess
import sys
import uuid
import zipfile

import pytest
from django.db import transaction
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Charge, PaymentMethod, Refund, lock
from django_krcard.services import attempts, mandates, notices
from tests.factories import REQUIRED, PublishedTerms, consent_of


@pytest.fixture
def lived(user, membership):
    """Minji agreed to something else as well, replaced her card, was charged, told of it, and paid back a part.

    Written as the services write it, but for Stripe's answers: those are rows.
    """
    customer = services.get_or_create_customer(user)
    customer.stripe_id = "cus_1"
    customer.save()
    agreed(customer, membership, "shinhan", "1234")
    consent_of(customer, PublishedTerms(slug="other"))
    page = "https://shop.example/agree/?a=1&b=<2>"
    mandate = agreed(customer, membership, "kookmin", "9876", ticked=[*REQUIRED, "news"], page_url=page)
    charge = Charge.objects.create(
        mandate=mandate,
        consent=mandate.consent,
        payment_method=mandate.payment_method,
        reference="2026-11",
        description="11월 이용료",
        amount=12_900,
        refunded_amount=2_900,
        status="succeeded",
        due_at=timezone.now(),
        first_sent_at=timezone.now(),
        last_sent_at=timezone.now(),
        idempotency_key="k1",
        stripe_id="pi_1",
        requested_by="system",
    )
    asked = {"reference": "r1", "amount": 2_900, "reason": "불편", "requested_by": "staff:boss"}
    refund = Refund.objects.create(charge=charge, status="succeeded", idempotency_key="k2", stripe_id="re_1", **asked)
    told = {"charge_succeeded": {}, "charge_refunded": {"refund": refund, "left": 10_000}}
    for kind, context in told.items():
        notices.deliver(notices.write(mandate, kind, about=kind, charge=charge, **context).pk)
    services.hold(mandate, by="staff:boss", reason="전화 문의")
    services.resume(mandate, by="staff:boss", reason="해결")
    mandate.refresh_from_db()
    return mandate


def agreed(customer, terms, brand, last4, *, ticked=REQUIRED, page_url=""):
    how = services.Evidence(ip_address="203.0.113.7", user_agent="Test browser", page_url=page_url)
    setup = attempts.agree(customer, terms, language="ko", ticked=ticked, evidence=how, attempt=uuid.uuid4())
    setup.status, setup.checkout_session_id, setup.setup_intent_id = "complete", f"cs_{brand}", f"seti_{brand}"
    setup.params = {"success_url": "https://shop.example/krcard/success/"}
    setup.save()
    card = PaymentMethod.objects.create(
        customer=customer, stripe_id=f"pm_{brand}", type="kr_card", brand=brand, last4=last4
    )
    with transaction.atomic():
        return mandates.use_card(lock(setup.mandate), setup.consent, card, stripe_id="", status="active")


class Unpacked:
    """The ZIP in an empty folder, and what its own program says of it."""

    def __init__(self, folder, content):
        self.folder = folder
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(folder)

    def verify(self, *known):
        command = [sys.executable, "-I", "-S", "verify.py", *known]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, encoding="utf-8")


@pytest.fixture
def unpack(tmp_path):
    def into_an_empty_folder(content):
        folder = tmp_path / f"pack{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Unpacked(folder, content)

    return into_an_empty_folder
