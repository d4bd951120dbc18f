"""krcard_create_webhook_endpoint: the endpoint is made once, and its secret told once."""

import logging
import stat

import pytest

from django_krcard import gateway
from django_krcard.conf import PINNED_API_VERSION
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.webhooks.handlers import HANDLERS

pytestmark = pytest.mark.django_db(transaction=True)

COMMAND = "krcard_create_webhook_endpoint"
URL = "https://shop.example/krcard/webhook/"


@pytest.fixture(autouse=True)
def base_url(settings):
    settings.KRCARD_BASE_URL = "https://shop.example"


def there():
    return list(gateway.webhook_endpoints())


def test_it_is_made_with_our_events_and_our_version_and_tells_its_secret_once(play, caplog):
    caplog.set_level(logging.DEBUG)
    ended = play(COMMAND, URL)

    [made] = there()
    assert (made.url, made.events, made.api_version) == (URL, set(HANDLERS), PINNED_API_VERSION)
    assert ended.code == 0
    [secret] = [line for line in ended.lines if line.startswith("whsec_")]
    assert ended.out.count(secret) == 1
    assert secret not in caplog.text


def test_again_it_changes_nothing(play):
    play(COMMAND, URL)
    ended = play(COMMAND, URL)
    assert (ended.code, len(there())) == (1, 1)
    assert "--update" in ended.error


def test_the_secret_goes_into_a_file_for_its_owner_alone(play, tmp_path):
    file = tmp_path / "secret"
    ended = play(COMMAND, URL, "--secret-file", file)
    assert ended.code == 0
    assert file.read_text().startswith("whsec_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "whsec_" not in ended.out
    [told] = play(COMMAND, URL, "--update", "--json").objects
    assert told["secret"] == ""


def test_a_file_that_is_there_is_not_overwritten_and_nothing_is_made(play, tmp_path):
    file = tmp_path / "secret"
    file.write_text("precious")
    assert play(COMMAND, URL, "--secret-file", file).code == 2
    assert (file.read_text(), there()) == ("precious", [])


def test_when_stripe_says_no_there_is_no_empty_file(play, tmp_path):
    file = tmp_path / "secret"
    control.fail_next("POST", "/v1/webhook_endpoints", status=403)
    ended = play(COMMAND, URL, "--secret-file", file)
    assert (ended.code, file.exists(), there()) == (2, False, [])


def test_update_gives_an_endpoint_exactly_our_events(play):
    params = {"url": URL, "enabled_events": ["charge.captured"], "api_version": PINNED_API_VERSION}
    made = gateway.create_webhook_endpoint(params, key="k")
    gateway.update_webhook_endpoint(made.id, {"disabled": True}, key="k2")

    assert play(COMMAND, URL, "--update").code == 0

    [now] = there()
    assert (now.id, now.enabled, now.events) == (made.id, True, set(HANDLERS))
    assert "is as it should be" in play(COMMAND, URL, "--update").out


def test_updates_are_not_mistaken_for_the_same_update_on_another_day(play):
    """Stripe repeats its answer under one key for a day: what somebody changed meanwhile is set all the same."""
    play(COMMAND, URL)
    for _ in range(3):
        [made] = there()
        gateway.update_webhook_endpoint(made.id, {"enabled_events": ["charge.captured"]}, key=f"k{_}")
        assert play(COMMAND, URL, "--update").code == 0
        assert there()[0].events == set(HANDLERS)


def test_an_endpoint_that_was_deleted_is_made_anew_on_the_same_day(play):
    [first] = play(COMMAND, URL, "--json").objects
    Resource.objects.filter(kind="webhook_endpoint").delete()
    [second] = play(COMMAND, URL, "--json").objects
    assert first["id"] != second["id"]
    assert first["secret"] != second["secret"]
    assert [each.id for each in there()] == [second["id"]]


def test_another_version_cannot_be_changed_and_is_told(play):
    gateway.create_webhook_endpoint({"url": URL, "enabled_events": ["*"], "api_version": "2024-06-20"}, key="k")
    ended = play(COMMAND, URL, "--update")
    assert ended.code == 1
    assert "2024-06-20" in ended.error
    assert there()[0].events == set(HANDLERS)


def test_two_endpoints_are_for_a_person(play):
    for key in "ab":
        gateway.create_webhook_endpoint({"url": URL, "enabled_events": ["*"]}, key=key)
    assert play(COMMAND, URL, "--update").code == 1
    assert {each.events for each in there()} == {frozenset("*")}


def test_a_dry_run_changes_nothing(play):
    [told] = play(COMMAND, URL, "--dry-run", "--json").objects
    assert (told["done"], told["url"], told["secret"]) == ("would make", URL, "")
    assert told["events"] == sorted(HANDLERS)
    assert there() == []


@pytest.mark.parametrize(
    ("url", "forced"),
    [
        ("https://shop.example/other/", 0),
        ("https://elsewhere.example/krcard/webhook/", 0),
        ("https://shop.example/krcard/webhook/?a=b", 2),
        ("shop.example/krcard/webhook/", 2),
        ("ftp://shop.example/krcard/webhook/", 2),
    ],
)
def test_an_address_that_is_not_ours_needs_force(play, url, forced):
    assert play(COMMAND, url).code == 2
    assert there() == []
    assert play(COMMAND, url, "--force").code == forced


def test_plain_http_is_for_stand_ins_only(play, settings):
    settings.KRCARD_BASE_URL = "http://127.0.0.1:8000"
    url = "http://127.0.0.1:8000/krcard/webhook/"
    assert play(COMMAND, url).code == 0
    settings.KRCARD_SANDBOX = False
    ended = play(COMMAND, url, "--force")
    assert (ended.code, "https" in ended.error) == (2, True)


def test_for_a_connected_account_the_endpoint_is_the_platforms(play, settings):
    settings.KRCARD_STRIPE_ACCOUNT = "acct_hangang"
    assert play(COMMAND, URL).code == 0
    assert Resource.objects.get(kind="webhook_endpoint").account == ""
