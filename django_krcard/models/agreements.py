"""What customers are asked, what they answered, and the permission that came of it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import connections, models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_krcard.exceptions import RecordIsFinal
from django_krcard.models.base import AppendOnlyModel, ErasableQuerySet, Record
from django_krcard.rules import ENDED, AmountKind, Frequency, MandateStatus, Period, Rule


class DraftsOnlyQuerySet(models.QuerySet):
    """Changes and removes drafts, and refuses when a row was published. ``status_at`` leads to the status."""

    status_at = "status"

    def _refuse_published(self) -> None:
        if self.exclude(**{self.status_at: Terms.Status.DRAFT}).exists():
            raise RecordIsFinal("Published terms are never changed or removed. A change is a new version.")

    def update(self, **kwargs):
        self._refuse_published()
        return super().update(**kwargs)

    def delete(self):
        self._refuse_published()
        return super().delete()

    def retire(self) -> int:
        return super().update(status=Terms.Status.RETIRED)

    def locked(self) -> list:
        """These rows as they are now, in the order of their ids, locked until the transaction ends.

        SQLite ignores ``SELECT … FOR UPDATE``: there the lock is a write, and one that finds no row is enough.
        """
        if connections[self.db].features.has_select_for_update:
            return list(self.select_for_update(no_key=True).order_by("pk"))
        super(DraftsOnlyQuerySet, self.filter(pk=0)).update(version=0)
        return list(self.order_by("pk"))


class TextQuerySet(DraftsOnlyQuerySet):
    status_at = "terms__status"

    def update(self, **kwargs):
        # Also those that they go to.
        if terms := kwargs.get("terms", kwargs.get("terms_id")):
            Terms.objects.filter(pk=getattr(terms, "pk", terms))._refuse_published()
        return super().update(**kwargs)

    def bulk_create(self, objs, *args, **kwargs):
        objs = list(objs)
        Terms.objects.filter(pk__in={text.terms_id for text in objs})._refuse_published()
        return super().bulk_create(objs, *args, **kwargs)


class Terms(models.Model):
    """One version of what customers are asked to agree to. Immutable once published."""

    class Status(models.TextChoices):
        DRAFT = "draft", _("draft")
        PUBLISHED = "published", _("published")
        RETIRED = "retired", _("retired")

    slug = models.SlugField(_("name in addresses"))
    version = models.PositiveIntegerField(
        pgettext_lazy("krcard", "version"), default=1, validators=[MinValueValidator(1)]
    )
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.DRAFT, editable=False)
    published_at = models.DateTimeField(_("published at"), null=True, blank=True, editable=False)
    published_by = models.CharField(_("published by"), max_length=300, blank=True, editable=False)
    words_checked = models.TextField(
        _("why the words fit the rule"),
        blank=True,
        editable=False,
        help_text=_("Given by whoever published words in which the package did not find the rule."),
    )
    words_doubted = models.JSONField(_("what was not found in the words"), default=list, editable=False)

    frequency = models.CharField(_("frequency"), max_length=16, choices=Frequency)
    period = models.CharField(_("period"), max_length=8, choices=Period, null=True, blank=True)
    period_count = models.PositiveSmallIntegerField(
        _("periods at a time"), default=1, validators=[MinValueValidator(1)], help_text=_("3 with month: quarterly.")
    )
    amount_kind = models.CharField(_("amount is"), max_length=8, choices=AmountKind)
    amount = models.PositiveIntegerField(_("amount (won)"), help_text=_("Of one payment, in whole won."))
    max_charges_per_period = models.PositiveIntegerField(_("payments per period, at most"), null=True, blank=True)
    max_amount_per_period = models.PositiveIntegerField(_("won per period, at most"), null=True, blank=True)
    notice_days = models.PositiveSmallIntegerField(_("days of advance notice"), default=0)
    valid_for_days = models.PositiveIntegerField(_("valid for days"), null=True, blank=True)
    max_retries = models.PositiveSmallIntegerField(
        _("tries after a declined payment"), default=0, help_text=_("From 0 to 3.")
    )
    retry_after_days = models.PositiveSmallIntegerField(_("days between tries"), default=1)

    objects = DraftsOnlyQuerySet.as_manager()

    class Meta:
        verbose_name = _("terms")
        verbose_name_plural = _("terms")
        # What Django itself uses, for one when a text is added to terms.texts: it refuses the same.
        base_manager_name = "objects"
        ordering = ["slug", "-version"]
        permissions = [("publish_terms", _("Can publish terms"))]
        constraints = [
            models.UniqueConstraint(fields=["slug", "version"], name="krcard_terms_version_once"),
            models.UniqueConstraint(
                fields=["slug"], condition=models.Q(status="published"), name="krcard_terms_one_in_force"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.slug} v{self.version}"

    @property
    def rule(self) -> Rule:
        return Rule(**{name: getattr(self, name) for name in Rule._fields})

    def clean(self) -> None:
        # An empty field is reported by the field itself.
        if self.amount is not None and (problems := self.rule.problems()):
            raise ValidationError(problems)

    def save(self, *args, **kwargs) -> None:
        self._refuse_change_once_published()
        super().save(*args, **kwargs)

    def delete(self, *args, **kwargs):
        if self.status != self.Status.DRAFT:
            raise RecordIsFinal(f"{self} was published; customers may have agreed to it.")
        return super().delete(*args, **kwargs)

    def _refuse_change_once_published(self) -> None:
        stored = type(self)._base_manager.filter(pk=self.pk).first() if self.pk else None
        if stored is None or stored.status == self.Status.DRAFT:
            return
        may_change = {"status"} if self.status == self.Status.RETIRED else set()
        for field in self._meta.concrete_fields:
            if field.name not in may_change and getattr(stored, field.attname) != getattr(self, field.attname):
                raise RecordIsFinal(f"{stored} was published. A change is a new version.")


class TermsText(models.Model):
    """The words of one version in one language. The four points are those of Stripe's guide."""

    terms = models.ForeignKey(Terms, verbose_name=_("terms"), on_delete=models.CASCADE, related_name="texts")
    language = models.CharField(_("language"), max_length=12, default="ko", help_text=_("ko, en, …"))
    title = models.CharField(_("title"), max_length=200)
    permission = models.TextField(
        _("Permission to charge"),
        help_text=_("That you may start a payment or a series of payments on the customer's behalf."),
    )
    timing = models.TextField(_("Frequency and timing"), help_text=_("How often and when payments will be made."))
    amount_basis = models.TextField(_("How the amount is determined"), help_text=_("How the amount is determined."))
    cancellation = models.TextField(_("Cancellation policy"), help_text=_("How and when the customer can cancel."))
    body = models.TextField(_("further terms"), blank=True)
    items = models.JSONField(
        _("boxes to tick"),
        default=list,
        help_text=_('A list of {"key": …, "label": …, "required": true or false}. At least one is required.'),
    )

    objects = TextQuerySet.as_manager()

    #: The guide's points in the order in which they are shown.
    POINTS = ("permission", "timing", "amount_basis", "cancellation")

    class Meta:
        base_manager_name = "objects"
        verbose_name = _("text of terms")
        verbose_name_plural = _("texts of terms")
        constraints = [
            models.UniqueConstraint(fields=["terms", "language"], name="krcard_terms_text_once_per_language")
        ]

    def __str__(self) -> str:
        return f"{self.terms} ({self.language})"

    @property
    def points(self) -> list[tuple[str, str]]:
        """The four points as (heading, text), headings in the active language."""
        return [(str(self._meta.get_field(name).verbose_name), getattr(self, name)) for name in self.POINTS]

    @property
    def required_keys(self) -> set[str]:
        return {item["key"] for item in self.items if item["required"]}

    def clean(self) -> None:
        problem = self._problem_with_items()
        if problem:
            raise ValidationError({"items": problem})

    def _problem_with_items(self):
        if not isinstance(self.items, list) or not all(_is_item(item) for item in self.items):
            return _('Each box is {"key": …, "label": …, "required": true or false}.')
        keys = [item["key"] for item in self.items]
        if len(keys) != len(set(keys)):
            return _("Each box needs a key of its own.")
        if not self.required_keys:
            return _("At least one box must be required: without it nobody has agreed to anything.")
        return None

    def save(self, *args, **kwargs) -> None:
        self._refuse_change_once_published()
        super().save(*args, **kwargs)

    def delete(self, *args, **kwargs):
        self._refuse_change_once_published()
        return super().delete(*args, **kwargs)

    def _refuse_change_once_published(self) -> None:
        # Both those it goes to and those it comes from.
        terms = models.Q(pk=self.terms_id) | models.Q(texts=self.pk or 0)
        if Terms.objects.filter(terms).exclude(status=Terms.Status.DRAFT).exists():
            raise RecordIsFinal(f"{self.terms} was published. A change is a new version.")


def _is_item(item) -> bool:
    return (
        isinstance(item, dict)
        and set(item) == {"key", "label", "required"}
        and isinstance(item["key"], str)
        and isinstance(item["label"], str)
        and isinstance(item["required"], bool)
        and bool(item["key"].strip() and item["label"].strip())
    )


class Consent(AppendOnlyModel, Record):
    """The proof: who agreed to exactly which text, when and how. Never changed."""

    class Source(models.TextChoices):
        WEB = "web", _("web page")
        IMPORT = "import", _("import")
        PHONE = "phone", _("phone")
        PAPER = "paper", _("paper")

    customer = models.ForeignKey(
        "krcard.Customer", verbose_name=_("customer"), on_delete=models.PROTECT, related_name="consents"
    )
    terms = models.ForeignKey(Terms, verbose_name=_("terms"), on_delete=models.PROTECT, related_name="consents")
    language = models.CharField(_("language"), max_length=12)
    rule = models.JSONField(_("rule in force"), help_text=_("The limits that were agreed, as data."))
    text = models.TextField(_("text as shown"))
    text_sha256 = models.CharField(_("SHA-256 of the text"), max_length=64)
    ticked = models.JSONField(_("boxes ticked"))
    given_at = models.DateTimeField(_("given at"))
    source = models.CharField(_("source"), max_length=16, choices=Source, default=Source.WEB)
    source_reference = models.CharField(
        _("reference of the source"),
        max_length=191,
        null=True,
        blank=True,
        unique=True,
        help_text=_("The site's own name for the paper, the call or the imported row. Recorded once."),
    )
    recorded_by = models.CharField(
        _("recorded by"), max_length=300, blank=True, help_text=_("Who took it, if the customer did not give it here.")
    )
    origin_sha256 = models.CharField(_("SHA-256 of where it came from"), max_length=64)
    attachment_sha256 = models.CharField(_("SHA-256 of the attachment"), max_length=64, blank=True)
    key_id = models.CharField(_("key of the hash"), max_length=64)
    record_hash = models.CharField(_("hash of the record"), max_length=64)
    previous_hash = models.CharField(_("hash of the record before"), max_length=64, blank=True)

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("consent")
        verbose_name_plural = _("consents")
        ordering = ["-pk"]
        permissions = [("record_consent", _("Can record a consent that was taken elsewhere"))]
        constraints = [
            # Two records may not follow the same one: each customer's consents form one chain.
            models.UniqueConstraint(fields=["customer", "previous_hash"], name="krcard_consent_one_chain"),
        ]

    def __str__(self) -> str:
        return f"{self.customer}: {self.terms} ({self.language})"

    @property
    def ip_address(self) -> str | None:
        return getattr(self, "origin", NOWHERE).ip_address

    @property
    def user_agent(self) -> str:
        return getattr(self, "origin", NOWHERE).user_agent

    @property
    def page_url(self) -> str:
        return getattr(self, "origin", NOWHERE).page_url

    @property
    def note(self) -> str:
        return getattr(self, "origin", NOWHERE).note


class ConsentOrigin(AppendOnlyModel):
    """From where a consent came: what is personal in it.

    In a row of its own, so that a person can be erased while the record still holds: that keeps only a salted hash.
    """

    consent = models.OneToOneField(
        Consent, verbose_name=_("consent"), on_delete=models.PROTECT, primary_key=True, related_name="origin"
    )
    salt = models.CharField(max_length=64, editable=False)
    ip_address = models.GenericIPAddressField(_("IP address"), null=True, blank=True, unpack_ipv4=True)
    user_agent = models.TextField(_("user agent"), blank=True)
    page_url = models.TextField(_("page"), blank=True)
    note = models.TextField(
        pgettext_lazy("krcard", "note"), blank=True, help_text=_("What whoever took it says about it.")
    )

    objects = ErasableQuerySet.as_manager()

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("origin of a consent")
        verbose_name_plural = _("origins of consents")

    def __str__(self) -> str:
        return str(self.consent_id)


#: What is left of an origin that was erased.
NOWHERE = ConsentOrigin()


class ConsentAttachment(AppendOnlyModel):
    """The scan or the recording of a consent that was not given here. Personal, so in a row of its own as well."""

    consent = models.OneToOneField(
        Consent, verbose_name=_("consent"), on_delete=models.PROTECT, primary_key=True, related_name="attachment"
    )
    salt = models.CharField(max_length=64, editable=False)
    name = models.CharField(pgettext_lazy("krcard", "name"), max_length=255)
    content_type = models.CharField(pgettext_lazy("krcard", "content type"), max_length=127)
    content = models.BinaryField(pgettext_lazy("krcard", "content"))

    objects = ErasableQuerySet.as_manager()

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("attachment of a consent")
        verbose_name_plural = _("attachments of consents")

    def __str__(self) -> str:
        return self.name


class ConsentErasure(AppendOnlyModel):
    """That what is personal of a consent was removed: when, by whom and why. Without it a missing origin is a loss."""

    consent = models.OneToOneField(
        Consent, verbose_name=_("consent"), on_delete=models.PROTECT, primary_key=True, related_name="erasure"
    )
    at = models.DateTimeField(_("at"), default=timezone.now)
    by = models.CharField(pgettext_lazy("krcard", "by"), max_length=300)
    reason = models.TextField(_("reason"))

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("erasure")
        verbose_name_plural = _("erasures")

    def __str__(self) -> str:
        return str(self.consent_id)


class Mandate(Record):
    """Permission to charge one card at a time under the consent in force."""

    Status = MandateStatus

    reference = models.CharField(
        _("reference"), max_length=16, unique=True, help_text=_("Short, for people: on receipts and on the phone.")
    )
    customer = models.ForeignKey(
        "krcard.Customer", verbose_name=_("customer"), on_delete=models.PROTECT, related_name="mandates"
    )
    consent = models.ForeignKey(
        Consent, verbose_name=_("consent in force"), on_delete=models.PROTECT, related_name="mandates"
    )
    next_consent = models.ForeignKey(
        Consent,
        verbose_name=_("consent agreed beforehand"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
    )
    next_consent_on = models.DateField(_("in force from"), null=True, blank=True)
    is_free = models.BooleanField(
        _("free until agreed"),
        default=False,
        help_text=_("Free until now: nothing is charged before the customer agrees to pay."),
    )
    payment_method = models.ForeignKey(
        "krcard.PaymentMethod",
        verbose_name=_("card"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="mandates",
    )
    stripe_id = models.CharField(_("Stripe mandate"), max_length=255, null=True, blank=True, db_index=True)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PENDING)
    activated_at = models.DateTimeField(_("active since"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    end_reason = models.TextField(_("reason of the end"), blank=True)
    ended_by = models.CharField(_("ended by"), max_length=300, blank=True)
    legal_hold = models.TextField(
        _("legal hold"),
        blank=True,
        editable=False,
        help_text=_("Why nothing about this may be erased, however old it is. Empty: it may."),
    )

    class Meta:
        verbose_name = _("mandate")
        verbose_name_plural = _("mandates")
        ordering = ["-created_at"]
        permissions = [
            ("charge_mandate", _("Can charge under a mandate")),
            ("cancel_mandate", _("Can end a mandate")),
            ("export_evidence", _("Can take the evidence of a mandate")),
            ("view_archived", _("Can view mandates that ended long ago")),
        ]

    def __str__(self) -> str:
        return self.reference

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def can_be_held(self) -> bool:
        """Also one that somebody else holds: each has a reason of their own."""
        return self.status in (MandateStatus.ACTIVE, MandateStatus.ON_HOLD)


class TimelineEntry(AppendOnlyModel):
    """One thing that happened to a mandate, with who did it and why."""

    mandate = models.ForeignKey(Mandate, verbose_name=_("mandate"), on_delete=models.PROTECT, related_name="timeline")
    kind = models.CharField(_("what"), max_length=64)
    at = models.DateTimeField(_("at"), default=timezone.now)
    actor = models.CharField(_("who"), max_length=300)
    data = models.JSONField(_("details"), default=dict)

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("timeline entry")
        verbose_name_plural = _("timeline")
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.mandate}: {self.kind}"
