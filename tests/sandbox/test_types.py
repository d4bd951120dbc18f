import pytest
import stripe

from django_krcard.sandbox import control

from .conftest import charge_params, client_for, session_params


def with_old_name(params):
    params["payment_method_types"] = params.pop("allowed_payment_method_types")
    return params


def test_the_old_name_is_gone_from_sessions_since_endive(api, customer):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.checkout.sessions.create(with_old_name(session_params(customer)))

    assert refused.value.http_status == 400
    assert refused.value.code == "payment_method_types_no_longer_supported"


def test_the_old_name_is_gone_from_payment_intents_since_endive(api, saved):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.create(with_old_name(charge_params(saved)))

    assert refused.value.code == "payment_method_types_no_longer_supported"


def test_the_old_name_works_before_endive(old_api, customer, saved):
    session = old_api.checkout.sessions.create(with_old_name(session_params(customer)))
    intent = old_api.payment_intents.create(with_old_name(charge_params(saved)))

    assert session.payment_method_types == ["card", "kr_card"]
    assert intent.status == "succeeded"


def test_the_new_name_is_unknown_to_sessions_before_endive(old_api, customer):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        old_api.checkout.sessions.create(session_params(customer))

    assert (refused.value.code, refused.value.param) == ("parameter_unknown", "allowed_payment_method_types")


def test_the_new_name_came_to_payment_intents_with_2026_07_29(saved):
    between = client_for("2026-07-29.dahlia").v1.payment_intents.create(charge_params(saved))
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client_for("2026-06-24.dahlia").v1.payment_intents.create(charge_params(saved))

    assert between.status == "succeeded"
    assert refused.value.code == "parameter_unknown"


def test_only_one_of_the_names_at_a_time(old_api, saved):
    with pytest.raises(stripe.InvalidRequestError, match="only one of"):
        old_api.payment_intents.create(charge_params(saved, payment_method_types=["kr_card"]))


def test_what_is_not_switched_on_vanishes_silently(api, customer):
    control.set_enabled_types(["card"])

    session = api.checkout.sessions.create(session_params(customer))

    assert session.payment_method_types == ["card"]
    assert session.allowed_payment_method_types == ["card", "kr_card"]


def test_what_does_not_fit_the_currency_vanishes_silently(api, customer):
    session = api.checkout.sessions.create(session_params(customer, currency="usd"))

    assert session.payment_method_types == ["card"]


def test_the_old_name_says_so_instead(old_api, customer):
    control.set_enabled_types(["card"])

    with pytest.raises(stripe.InvalidRequestError, match="kr_card is invalid"):
        old_api.checkout.sessions.create(with_old_name(session_params(customer)))


def test_nothing_left_is_an_error(api, customer):
    control.set_enabled_types([])

    with pytest.raises(stripe.InvalidRequestError, match="No valid payment method types"):
        api.checkout.sessions.create(session_params(customer))


def test_without_a_list_it_is_what_the_account_has(api, customer):
    params = session_params(customer)
    del params["allowed_payment_method_types"]

    session = api.checkout.sessions.create(params)

    assert session.payment_method_types == ["card", "kr_card", "naver_pay", "kakao_pay"]


def test_a_type_that_is_known_but_never_switched_on_vanishes_silently(api, customer):
    session = api.checkout.sessions.create(
        session_params(customer, allowed_payment_method_types=["payco", "klarna", "kr_card"])
    )

    assert session.payment_method_types == ["kr_card"]


def test_the_old_name_knows_the_same_types(old_api, saved):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        old_api.payment_intents.create(with_old_name(charge_params(saved, allowed_payment_method_types=["krcard"])))

    assert (refused.value.http_status, refused.value.param) == (400, "payment_method_types[0]")
