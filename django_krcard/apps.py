from django.apps import AppConfig
from django.core import checks as django_checks
from django.utils.translation import gettext_lazy as _

from django_krcard import checks


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
