"""What other people's tests are promised: by our own suite, and by the file in docs/testing.md."""

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, TestCase
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.exceptions import StripeRefusedKey
from django_krcard.models import Charge, Event, Mandate, Terms
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as Message
from django_krcard.sandbox.models import Resource
from django_krcard.sandbox.store import PREFIXES, read_state
from django_krcard.signals import mandate_activated
from django_krcard.testing import assert_charged, assert_refused, factories, sign
from django_krcard.testing.clock import Clock
from tests.factories import UserFactory

ROOT = Path(__file__).parents[1]
PLUGIN = ["-p", "django_krcard.testing.plugin"]


# --- the sandbox ----------------------------------------------------------------------------------


def test_the_sandbox_is_empty_and_on_whatever_the_site_says(request, settings, transactional_db):
    settings.KRCARD_SANDBOX = False
    settings.STRIPE_SECRET_KEY = "sk_live_real"
    settings.KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES = False
    control.set_delivery("dropped")

    request.getfixturevalue("krcard_sandbox")

    customer = request.getfixturevalue("krcard_customer")()
    assert services.ensure_at_stripe(customer).startswith("cus_sandbox_")
    assert not customer.livemode
    assert read_state().delivery == "now"


def test_the_sandbox_has_every_control(krcard_sandbox, krcard_mandate):
    mandate = krcard_mandate()
    assert krcard_sandbox.decline_next is control.decline_next
    with pytest.raises(AttributeError, match="make_rich"):
        krcard_sandbox.make_rich()

    services.charge(mandate, 12_900, reference="1")
    assert [intent["amount"] for intent in krcard_sandbox.payment_intents()] == [12_900]
    assert [charge["paid"] for charge in krcard_sandbox.charges()] == [True]
    assert [session["status"] for session in krcard_sandbox.sessions()] == ["complete"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"ROOT_URLCONF": "django_krcard.sandbox.urls"}, 'path("krcard/", include("django_krcard.urls"))'),
        ({"ROOT_URLCONF": "django_krcard.urls"}, 'path("stripe-sandbox/", include("django_krcard.sandbox.urls"))'),
        ({"INSTALLED_APPS": ["django_krcard"]}, 'INSTALLED_APPS += ["django_krcard.sandbox"]'),
    ],
)
def test_a_missing_line_is_named(request, settings, transactional_db, change, line):
    for name, value in change.items():
        setattr(settings, name, value)

    for fixture in ("krcard_sandbox", "krcard_terms"):
        with pytest.raises(pytest.fail.Exception) as failure:
            request.getfixturevalue(fixture)
        assert line in str(failure.value)


# --- people and their cards -----------------------------------------------------------------------


def test_terms_are_in_force_in_both_languages_and_say_what_the_rule_says(krcard_terms):
    terms = krcard_terms("paper", amount=9_900, period="week")

    assert terms.status == "published"
    korean, english = terms.texts.get(language="ko"), terms.texts.get(language="en")
    assert "9,900원" in korean.amount_basis
    assert "₩9,900" in english.amount_basis
    assert "every week" in english.timing


@pytest.mark.parametrize(
    "rule",
    [
        {"frequency": "one_time"},
        {"frequency": "as_used", "amount_kind": "maximum", "amount": 30_000, "max_amount_per_period": 100_000},
        {"period": "year", "valid_for_days": 400},
    ],
)
def test_every_kind_of_terms(krcard_terms, krcard_mandate, rule):
    mandate = krcard_mandate(terms=krcard_terms(**rule))

    services.charge(mandate, mandate.consent.terms.amount, reference="1")
    assert_charged(mandate, mandate.consent.terms.amount)


def test_the_same_terms_again_are_the_next_version(krcard_terms):
    first, second = krcard_terms(), krcard_terms(amount=14_900)

    assert second.version == 2
    assert Terms.objects.get(pk=first.pk).status == "retired"


def test_a_customer_is_a_user_a_reference_or_somebody(krcard_customer, django_user_model):
    user = UserFactory()

    assert krcard_customer(user).user == user
    assert krcard_customer(reference="org-7") == krcard_customer(reference="org-7")
    assert krcard_customer() != krcard_customer()
    assert django_user_model.objects.count() == 1


def test_a_mandate_is_active_and_the_site_heard_of_it(krcard_mandate):
    heard = []
    mandate_activated.connect(receiver := lambda sender, mandate, **kwargs: heard.append(mandate))
    user = UserFactory()

    mandate = krcard_mandate(user, brand="kookmin", last4="4242")

    assert mandate_activated.disconnect(receiver)
    assert heard == [mandate]
    assert services.active_mandate(user, "membership") == mandate
    assert (mandate.payment_method.brand, mandate.payment_method.last4) == ("kookmin", "4242")


def test_terms_in_korean_only_are_enough(krcard_terms, krcard_mandate):
    assert krcard_mandate(terms=krcard_terms(languages=["ko"])).status == "active"


@pytest.mark.usefixtures("krcard_sandbox")
class DjangosOwnTestCase(TestCase):
    """The transaction around it does not stop us; only what waits for a commit does not happen."""

    def test_a_card_is_saved_and_charged(self):
        mandate = factories.saved_mandate(factories.CustomerFactory(), factories.PublishedTerms())
        services.charge(mandate, 12_900, reference="1")
        assert_charged(mandate, 12_900)


# --- webhooks -------------------------------------------------------------------------------------


def test_an_event_is_posted_as_stripe_does(krcard_events, krcard_mandate):
    mandate = krcard_mandate()
    Event.objects.all().delete()

    answer = krcard_events.post("mandate.updated", {"id": mandate.stripe_id, "object": "mandate"}, id="evt_sandbox_1")

    assert answer.status_code == 200
    assert [(event.stripe_id, event.type, event.status) for event in Event.objects.all()] == [
        ("evt_sandbox_1", "mandate.updated", "done")
    ]
    assert krcard_events.post("mandate.updated", {"id": "x"}, livemode=True).status_code == 200
    assert Event.objects.get(livemode=True).status == "foreign"


def test_wrong_signatures_are_wrong(krcard_events):
    body = b'{"object": "event"}'

    assert krcard_events.post_raw(body).status_code == 200
    assert krcard_events.post_raw(body, header="").status_code == 400
    assert krcard_events.post_raw(body, header=krcard_events.sign(b"another")).status_code == 400
    assert krcard_events.post_raw(body, secret="whsec_other").status_code == 400
    assert krcard_events.post_raw(body, at=1_000_000_000).status_code == 400


def test_the_signer_signs_what_stripes_library_accepts():
    from stripe import WebhookSignature

    header = sign('{"id": "evt_1"}', "whsec_x")

    assert WebhookSignature.verify_header('{"id": "evt_1"}', header, "whsec_x", 300)
    # Stripe's scheme, worked out by hand with openssl.
    assert sign("hello", "whsec_x", at=1) == f"t=1,v1={OPENSSL}"


#: printf '1.hello' | openssl dgst -sha256 -hmac whsec_x
OPENSSL = "91d1a1bcefdd18ff264c95b60b467a4ef2582d23e613a1542f835a3c67f2c96e"


# --- money ----------------------------------------------------------------------------------------


def test_a_wrong_expectation_is_told_with_both_books(krcard_mandate, krcard_sandbox):
    mandate = krcard_mandate()
    krcard_sandbox.decline_next()
    services.charge(mandate, 12_900, reference="1")

    assert_charged(mandate, 12_900, times=0)
    with pytest.raises(AssertionError) as failure:
        assert_charged(mandate, 12_900)
    assert "12,900 won requires_payment_method" in str(failure.value)
    assert "12,900 won declined" in str(failure.value)


def test_a_charge_that_only_one_side_knows_is_not_a_charge(krcard_mandate):
    mandate = krcard_mandate()
    services.charge(mandate, 12_900, reference="1")
    Charge.objects.update(status="unknown")

    with pytest.raises(AssertionError, match="In the site: 12,900 won unknown"):
        assert_charged(mandate, 12_900)


def test_refusals_are_told_apart(krcard_mandate):
    mandate = krcard_mandate()

    assert_refused("amount_not_agreed", services.charge, mandate, 14_900, reference="1")
    with pytest.raises(AssertionError, match="amount_not_agreed"), assert_refused("card_missing"):
        services.charge(mandate, 14_900, reference="1")
    with pytest.raises(pytest.fail.Exception), assert_refused("card_missing"):
        services.charge(mandate, 12_900, reference="2")


# --- the clock ------------------------------------------------------------------------------------


def test_later_is_later_for_everybody(krcard_clock, krcard_mandate):
    before = timezone.now()
    mandate = krcard_mandate()

    krcard_clock.advance(days=31)

    assert timezone.now() - before >= timedelta(days=31)
    assert timezone.localtime(timezone.now()).tzinfo is not None
    assert timezone.template_localtime(before).tzinfo is not None
    assert Terms.objects.get().published_at < before + timedelta(minutes=1)
    # A default of a model holds the function itself.
    assert factories.CustomerFactory().created_at - before >= timedelta(days=31)
    assert services.charge(mandate, 12_900, reference="later").due_at - before >= timedelta(days=31)
    intent = Resource.objects.get(kind="payment_intent").body
    assert intent["created"] - before.timestamp() >= timedelta(days=31).total_seconds() - 1
    with pytest.raises(ValueError, match="forward only"):
        krcard_clock.advance(days=-1)


def test_after_the_test_it_is_now_again(krcard_sandbox):
    before = timezone.now()
    with pytest.MonkeyPatch.context() as monkeypatch:
        Clock(monkeypatch, krcard_sandbox).advance(days=31)

    assert timezone.now() - before < timedelta(minutes=1)


def test_the_sandbox_alone_goes_ahead(krcard_sandbox):
    before = timezone.now()
    krcard_sandbox.advance(hours=1)
    krcard_sandbox.advance(timedelta(hours=1))

    assert read_state().clock_offset == 7200
    assert timezone.now() - before < timedelta(minutes=1)


def test_a_card_can_be_saved_after_the_clock_has_moved(krcard_clock, krcard_mandate):
    krcard_clock.advance(days=400)

    assert krcard_mandate().status == "active"


# --- guards ---------------------------------------------------------------------------------------

#: What an id of Stripe's looks like: a kind, perhaps the mode, and letters and digits without an underscore.
STRIPES_OWN = re.compile(r"[a-z]+(_test|_live)?_[A-Za-z0-9]+(_secret_[A-Za-z0-9]+)?")


def ids_in(value):
    if isinstance(value, dict):
        yield from (text for key, text in value.items() if key in ("id", "fingerprint") and isinstance(text, str))
        yield from (found for inner in value.values() for found in ids_in(inner))
    elif isinstance(value, list):
        yield from (found for inner in value for found in ids_in(inner))


def test_no_id_of_the_sandbox_can_be_mistaken_for_a_real_one(krcard_mandate, krcard_sandbox):
    assert STRIPES_OWN.fullmatch("cs_test_a1B2c3")
    assert STRIPES_OWN.fullmatch("pi_3MtwBwLkdIwHu7ix28a3tqPa")

    mandate = krcard_mandate()
    services.charge(mandate, 12_900, reference="1")
    services.revoke(mandate, by="customer", reason="enough")

    ids = {f"{prefix}x" for prefix in PREFIXES.values()}
    ids |= set(Resource.objects.values_list("stripe_id", flat=True))
    ids |= set(Message.objects.values_list("stripe_id", flat=True))
    ids |= {found for body in Resource.objects.values_list("body", flat=True) for found in ids_in(body)}
    assert len(ids) > 15
    assert {each for each in ids if STRIPES_OWN.fullmatch(each) or "_sandbox_" not in each} == set()


@pytest.mark.parametrize("key", ["sk_live_x", "rk_live_x", "sk_x"])
def test_with_a_live_key_nothing_of_ours_reaches_the_sandbox(krcard_sandbox, krcard_customer, settings, key):
    settings.STRIPE_SECRET_KEY = key
    customer = krcard_customer()
    assert customer.livemode

    with pytest.raises((ImproperlyConfigured, StripeRefusedKey)):
        services.ensure_at_stripe(customer)

    assert not Resource.objects.exists()


def test_without_debug_only_the_long_setting_opens_the_sandbox(krcard_sandbox, krcard_mandate, settings):
    mandate = krcard_mandate()
    settings.KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES = False

    with pytest.raises(ImproperlyConfigured, match="only with DEBUG"):
        services.charge(mandate, 12_900, reference="1")

    session = krcard_sandbox.sessions()[0]["id"]
    assert Client().get(reverse("krcard_sandbox:checkout", args=[session])).status_code == 404
    assert krcard_sandbox.payment_intents() == []
    assert Mandate.objects.get().status == "active"


# --- in other people's environments ---------------------------------------------------------------


def run(*arguments, cwd):
    env = {
        name: value for name, value in os.environ.items() if name not in ("DJANGO_SETTINGS_MODULE", "PYTEST_ADDOPTS")
    }
    env["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_plugin_costs_a_run_nothing(tmp_path):
    program = (
        "import pytest, sys; before = set(sys.modules); import django_krcard.testing.plugin;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "assert not new & {'django', 'stripe', 'factory', 'pytest_django'}, new"
    )
    code, said = run("-c", program, cwd=tmp_path)

    assert code == 0, said


def test_a_run_without_django_does_not_notice_the_plugin(tmp_path):
    (tmp_path / "test_sums.py").write_text("def test_sums():\n    assert 1 + 1 == 2\n")

    for more in ([], ["-p", "no:django"]):
        code, said = run("-W", "error", "-m", "pytest", "-q", *PLUGIN, *more, cwd=tmp_path)
        assert code == 0, said


def test_the_signer_needs_no_django(tmp_path):
    program = "import sys; from django_krcard.testing import sign; sign(b'{}'); assert 'django' not in sys.modules"
    code, said = run("-S", "-c", program, cwd=tmp_path)

    assert code == 0, said


def test_the_file_in_the_docs_is_a_suite_that_passes(tmp_path):
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(# test_cards\.py\n.*?)^```", text, re.MULTILINE | re.DOTALL)
    site = tmp_path / "site"
    shutil.copytree(ROOT / "tests" / "tiny_site", site, ignore=shutil.ignore_patterns("test_*", "__pycache__", ".*"))
    (site / "test_cards.py").write_text(code, encoding="utf-8")

    code, said = run("-m", "pytest", "-q", *PLUGIN, cwd=site)

    assert code == 0, said
    assert " passed" in said
