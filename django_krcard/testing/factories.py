"""Rows as stories need them, by factory-boy. What the product would do itself is done through its services."""

import secrets

import factory
from django.contrib.auth import get_user_model
from django.utils import translation

from django_krcard import formatting, services
from django_krcard.models import Customer, Terms, TermsText
from django_krcard.sandbox import control

REQUIRED = ["autopay", "save_card"]

#: What stands in braces is told by the rule, so that the words fit it. `count`, `notice`, `validity` and `limit` are
#: said where the rule has them.
WORDS = {
    "ko": {
        "title": "멤버십 자동결제 약관",
        "permission": "회사가 고객을 대신하여 멤버십 이용료 결제를 시작하는 것에 동의합니다.",
        "timing": "결제 주기: {often}",
        "count": "{every} 최대 {rule.max_charges_per_period}회 결제합니다.",
        "notice": "결제 {rule.notice_days}일 전에 알려 드립니다.",
        "validity": "동의는 {rule.valid_for_days}일 동안 유효합니다.",
        "amount_basis": "매회 {much}(부가세 포함)입니다.",
        "limit": "{every} 모두 합해 {limit}을 넘지 않습니다.",
        "cancellation": "언제든지 내 카드 화면에서 해지할 수 있으며 해지 즉시 결제가 중단됩니다.",
        "labels": {
            "autopay": "자동결제 이용 동의",
            "save_card": "카드정보 저장 동의",
            "news": "혜택·이벤트 알림 수신",
        },
    },
    "en": {
        "title": "Membership: terms of automatic payment",
        "permission": "You allow us to start payments for the membership on your behalf.",
        "timing": "Payments are made: {often}.",
        "count": "There are at most {rule.max_charges_per_period} payments {every}.",
        "notice": "You are told {rule.notice_days} days before a payment.",
        "validity": "Your agreement is valid for {rule.valid_for_days} days.",
        "amount_basis": "Each payment is {much}, VAT included.",
        "limit": "Together they never exceed {limit} {every}.",
        "cancellation": "You can cancel at any time on the page with your cards. Payments then stop at once.",
        "labels": {
            "autopay": "I agree to automatic payments",
            "save_card": "I agree that my card is saved",
            "news": "Tell me about news and offers",
        },
    },
}


class UserFactory(factory.django.DjangoModelFactory):
    """For Django's own user model, or one with the same three fields."""

    class Meta:
        model = get_user_model()
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"minji{n}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.com")
    password = factory.django.Password("demo")


class CustomerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Customer

    user = factory.SubFactory(UserFactory)
    reference = factory.LazyAttribute(lambda customer: str(customer.user.pk))


class TermsFactory(factory.django.DjangoModelFactory):
    """A draft of a monthly membership. `PublishedTerms` is the one in force."""

    class Meta:
        model = Terms
        skip_postgeneration_save = True

    slug = "membership"
    version = factory.LazyAttribute(lambda terms: Terms.objects.filter(slug=terms.slug).count() + 1)
    frequency = "recurring"
    period = factory.LazyAttribute(lambda terms: None if terms.frequency == "one_time" else "month")
    amount_kind = "fixed"
    amount = 12_900

    @factory.post_generation
    def languages(terms, create, extracted, **kwargs):
        for language in extracted or WORDS:
            TermsTextFactory(terms=terms, language=language)


class PublishedTerms(TermsFactory):
    @factory.post_generation
    def published(terms, create, extracted, **kwargs):
        services.publish_terms(terms, by="system")


def in_words(name, **more):
    """The sentence of this name, and that of each further one whose field the rule has."""

    def tell(text):
        with translation.override(text.language):
            rule = text.terms.rule
            names = [name, *(other for other, field in more.items() if getattr(rule, field))]
            told = {
                "rule": rule,
                "often": formatting.how_often(rule),
                "much": formatting.how_much(rule),
                "every": formatting.each_period(rule),
                "limit": formatting.won(rule.max_amount_per_period),
            }
            return " ".join(words_in(text.language)[name] for name in names).format(**told)

    return factory.LazyAttribute(tell)


def words_in(language):
    return WORDS.get(language, WORDS["ko"])


class TermsTextFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = TermsText

    language = "ko"
    title = in_words("title")
    permission = in_words("permission")
    timing = in_words("timing", count="max_charges_per_period", notice="notice_days", validity="valid_for_days")
    amount_basis = in_words("amount_basis", limit="max_amount_per_period")
    cancellation = in_words("cancellation")

    @factory.lazy_attribute
    def items(text):
        labels = words_in(text.language)["labels"]
        return [{"key": key, "label": label, "required": key in REQUIRED} for key, label in labels.items()]


# --- what the fixtures hand out -------------------------------------------------------------------


def published_terms(slug="membership", **rule):
    return PublishedTerms(slug=slug, **rule)


def customer_for(user=None, *, reference=None):
    if user is None and reference is None:
        reference = f"test-{secrets.token_hex(4)}"
    return services.get_or_create_customer(user, reference=reference)


def consent_of(customer, terms, *, ticked=REQUIRED, language="ko", **evidence):
    evidence = services.Evidence(ip_address="203.0.113.7", user_agent="Test browser", **evidence)
    return services.give_consent(customer, terms, language=language, ticked=ticked, evidence=evidence)


def saved_mandate(customer, terms, *, brand="shinhan", last4="1234"):
    """The customer agrees, saves a card of this issuer on Stripe's page, and comes back."""
    text = terms.texts.order_by("pk").first()
    consent = consent_of(customer, terms, ticked=text.required_keys, language=text.language)
    setup = services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")
    control.authorise(setup.checkout_session_id, brand=brand, last4=last4)
    return services.complete_setup(setup)
