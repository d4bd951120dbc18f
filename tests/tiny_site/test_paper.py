import pytest

from django_krcard.testing import assert_charged


@pytest.fixture
def reader(client, krcard_sandbox, django_user_model):
    client.force_login(user := django_user_model.objects.create(username="minji"))
    return user


def test_a_reader_pays_once_a_month(client, reader, krcard_terms, krcard_mandate, krcard_clock):
    mandate = krcard_mandate(reader, terms=krcard_terms("paper", amount=9_900))
    assert reader.groups.get().name == "readers"
    assert client.post("/pay/november/").status_code == 200
    assert client.post("/pay/november-again/").status_code == 409
    krcard_clock.advance(days=31)
    client.force_login(reader)
    assert client.post("/pay/december/").status_code == 200
    assert_charged(mandate, 9_900, times=2)


def test_an_empty_account_is_told(client, reader, krcard_terms, krcard_mandate, krcard_sandbox):
    mandate = krcard_mandate(reader, terms=krcard_terms("paper", amount=9_900))
    krcard_sandbox.decline_next("insufficient_funds")
    assert client.post("/pay/november/").status_code == 402
    assert_charged(mandate, 9_900, times=0)
