from django.apps import AppConfig
from django.core import checks as django_checks
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _

from django_krcard import checks, triggers


class KrcardConfig(AppConfig):
    name = "django_krcard"
    label = "krcard"
    verbose_name = _("Korean cards")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        for check in checks.CHECKS:
            django_checks.register(check, "krcard")
        for check in checks.DEPLOY_CHECKS:
            django_checks.register(check, "krcard", deploy=True)
        for check in checks.DATABASE_CHECKS:
            django_checks.register(check, "krcard", django_checks.Tags.database)
        post_migrate.connect(triggers.after_migrate, sender=self)
