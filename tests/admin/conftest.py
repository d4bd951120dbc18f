"""People who work in the admin, and the way they do."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from tests.factories import UserFactory


@pytest.fixture
def browser():
    """A browser in which somebody is signed in, reading English."""

    def sign_in(user):
        client = Client(headers={"Accept-Language": "en"})
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def boss(browser):
    return browser(UserFactory(username="boss", is_staff=True, is_superuser=True))


@pytest.fixture
def staff(browser):
    """A reviewer with these permissions and no other."""

    def with_permissions(*codenames):
        user = UserFactory(username="reviewer", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        return browser(user)

    return with_permissions
