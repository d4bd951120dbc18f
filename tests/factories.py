"""Rows as the stories need them. What the product would do itself (publish, agree) is done through its services."""

import factory
from django.contrib.auth import get_user_model

from django_krcard import services
from django_krcard.models import Customer, Terms, TermsText
from django_krcard.services.terms import publish

ITEMS = [
    {"key": "autopay", "label": "자동결제 이용 동의", "required": True},
    {"key": "save_card", "label": "카드정보 저장 동의", "required": True},
    {"key": "news", "label": "혜택·이벤트 알림 수신", "required": False},
]
REQUIRED = ["autopay", "save_card"]


class UserFactory(factory.django.DjangoModelFactory):
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
    """A draft of a monthly membership. ``PublishedTerms`` is the one in force."""

    class Meta:
        model = Terms
        skip_postgeneration_save = True

    slug = "membership"
    version = 1
    frequency = "recurring"
    period = "month"
    amount_kind = "fixed"
    amount = 12_900

    @factory.post_generation
    def languages(terms, create, extracted, **kwargs):
        for language in extracted or ["ko", "en"]:
            TermsTextFactory(terms=terms, language=language)


class PublishedTerms(TermsFactory):
    @factory.post_generation
    def published(terms, create, extracted, **kwargs):
        publish(terms, by="system")


class TermsTextFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = TermsText

    language = "ko"
    title = "멤버십 자동결제 약관"
    permission = "회사가 고객을 대신하여 멤버십 이용료 결제를 시작하는 것에 동의합니다."
    timing = "매월 한 번, 가입한 날과 같은 날에 결제합니다."
    amount_basis = "매회 12,900원(부가세 포함)입니다."
    cancellation = "언제든지 내 카드 화면에서 해지할 수 있으며 해지 즉시 결제가 중단됩니다."
    items = factory.LazyFunction(lambda: [dict(item) for item in ITEMS])


def as_used_terms(**rule):
    """Terms under which a site charges what was used, up to a limit per payment and per month."""
    fields = {"frequency": "as_used", "amount_kind": "maximum", "amount": 30_000, "max_amount_per_period": 100_000}
    return PublishedTerms(slug="as-used", **(fields | rule))


def consent_of(customer, terms, *, ticked=REQUIRED, language="ko", **evidence):
    evidence = services.Evidence(ip_address="203.0.113.7", user_agent="Test browser", **evidence)
    return services.give_consent(customer, terms, language=language, ticked=ticked, evidence=evidence)
