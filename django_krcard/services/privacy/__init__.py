"""Personal data: how long it is kept, and what a person may ask for."""

from django_krcard.services.privacy.erasure import Erasure, erase_customer, plan_erasure
from django_krcard.services.privacy.export import export_customer
from django_krcard.services.privacy.holds import lift_hold, set_hold
from django_krcard.services.privacy.retention import CLASSES, due, prune

__all__ = [
    "CLASSES",
    "Erasure",
    "due",
    "erase_customer",
    "export_customer",
    "lift_hold",
    "plan_erasure",
    "prune",
    "set_hold",
]
