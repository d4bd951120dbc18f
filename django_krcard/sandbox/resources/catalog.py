"""Products and Prices: what a subscription is for, and how much it is."""

from typing import Any

from ..billing_objects import price, product
from ..errors import no_such
from ..events import emit
from ..params import Params, choice, currency, flag, invalid, mapping, metadata, positive, text
from ..store import Act, Body, changed, find, merged, save
from .lists import PAGING, listed


def won(value: Any, name: str) -> str:
    code = currency(value, name)
    if code != "krw":
        raise invalid(f"The sandbox models prices in krw only, not {code}.", name)
    return code


def one_product(given: Body) -> None:
    if ("product" in given) == ("product_data" in given):
        message = "You must pass either `product` or `product_data`, and not both."
        raise invalid(message, "product", "parameter_missing")


NOTHING = Params({})
PRODUCT = {"active": flag, "description": text(clearable=True), "metadata": metadata, "name": text(250)}
CREATE_PRODUCT = Params(PRODUCT, requires=("name",))
UPDATE_PRODUCT = Params(PRODUCT)
LIST_PRODUCTS = Params({**PAGING, "active": flag})
PRICE = {"active": flag, "lookup_key": text(200), "metadata": metadata, "nickname": text(clearable=True)}
CREATE_PRICE = Params(
    {
        **PRICE,
        "currency": won,
        "product": text(),
        "product_data": mapping("name", name=text(250), metadata=metadata),
        "recurring": mapping("interval", interval=choice("day", "week", "month", "year"), interval_count=positive),
        "unit_amount": positive,
    },
    requires=("currency", "unit_amount"),
    together=one_product,
)
# An amount is never changed: another amount is another Price.
UPDATE_PRICE = Params(PRICE)
LIST_PRICES = Params({**PAGING, "active": flag, "currency": currency, "product": text()})


def create_product(act: Act, given: Body) -> Body:
    body = save(act, product(act, given))
    emit(act, "product.created", body)
    return body


def retrieve_product(act: Act, wanted: Body, id: str) -> Body:
    body = find("product", id)
    if body is None:
        raise no_such("product", id)
    return body


def update_product(act: Act, given: Body, id: str) -> Body:
    before = retrieve_product(act, {}, id)
    after = save(act, merged(before, given) | {"updated": act.now})
    emit(act, "product.updated", after, changed(before, after))
    return after


def list_products(act: Act, wanted: Body) -> Body:
    return listed("product", wanted, "/v1/products")


def create_price(act: Act, given: Body) -> Body:
    if "product_data" in given:
        given["product"] = create_product(act, given["product_data"])["id"]
    elif find("product", given["product"]) is None:
        raise no_such("product", given["product"], param="product", status=400)
    body = save(act, price(act, given))
    emit(act, "price.created", body)
    return body


def retrieve_price(act: Act, wanted: Body, id: str) -> Body:
    body = find("price", id)
    if body is None:
        raise no_such("price", id, param="price")
    return body


def update_price(act: Act, given: Body, id: str) -> Body:
    before = retrieve_price(act, {}, id)
    after = save(act, merged(before, given))
    emit(act, "price.updated", after, changed(before, after))
    return after


def list_prices(act: Act, wanted: Body) -> Body:
    return listed("price", wanted, "/v1/prices")
