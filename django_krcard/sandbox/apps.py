from django.apps import AppConfig
from django.core.checks import register

from .checks import check_not_in_production


class SandboxConfig(AppConfig):
    name = "django_krcard.sandbox"
    label = "krcard_sandbox"
    verbose_name = "Stripe sandbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        register(check_not_in_production)
