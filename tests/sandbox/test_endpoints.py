from django_krcard.sandbox import control


def test_a_webhook_endpoint_tells_its_secret_once(api):
    made = api.webhook_endpoints.create(
        {
            "url": "https://shop.example.com/krcard/webhook/",
            "enabled_events": ["checkout.session.completed", "mandate.updated"],
            "api_version": "2026-10-28.endive",
            "metadata": {"made_by": "krcard"},
        }
    )

    assert made.secret.startswith("whsec_sandbox_")
    [found] = api.webhook_endpoints.list()
    assert (found.url, found.status, found.api_version) == (made.url, "enabled", "2026-10-28.endive")
    assert "secret" not in found


def test_a_webhook_endpoint_is_changed_and_deleted(api):
    made = api.webhook_endpoints.create({"url": "https://shop.example.com/", "enabled_events": ["*"]})

    changed = api.webhook_endpoints.update(made.id, {"disabled": True, "enabled_events": ["charge.refunded"]})
    assert (changed.status, changed.enabled_events) == ("disabled", ["charge.refunded"])
    assert api.webhook_endpoints.delete(made.id).deleted is True
    assert api.webhook_endpoints.list().data == []


def test_the_account_says_what_it_can_do(api):
    assert api.accounts.retrieve_current().capabilities.kr_card_payments == "active"

    control.set_enabled_types(["card"])

    account = api.accounts.retrieve_current()
    assert (account.country, account.capabilities.kr_card_payments) == ("US", "inactive")
