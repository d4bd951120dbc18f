"""The one account of the sandbox, in a country whose businesses can take Korean cards."""

from ..params import Params
from ..store import ACCOUNT, OWN_ACCOUNT, Act, Body
from .lists import limit

RETRIEVE = Params({})
LIST_CONFIGURATIONS = Params({"limit": limit})

CAPABILITIES = ("card", "kakao_pay", "kr_card", "naver_pay")


def retrieve(act: Act, wanted: Body) -> Body:
    on = act.state.enabled_types
    return {
        "id": ACCOUNT.get() or OWN_ACCOUNT,
        "object": "account",
        "business_profile": None,
        "business_type": "company",
        "capabilities": {f"{type}_payments": "active" if type in on else "inactive" for type in CAPABILITIES},
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "sandbox@example.com",
        "payouts_enabled": True,
        "type": "standard",
    }


def list_configurations(act: Act, wanted: Body) -> Body:
    """The dashboard's settings, of which there is one set. What is switched off has no capability either."""
    configuration = {
        "id": "pmc_sandbox_1",
        "object": "payment_method_configuration",
        "active": True,
        "application": None,
        "is_default": True,
        "livemode": False,
        "name": "Default",
        "parent": None,
    }
    for type in CAPABILITIES:
        on = type in act.state.enabled_types
        preference = {"overridable": None, "preference": "on" if on else "off", "value": "on" if on else "off"}
        configuration[type] = {"available": on, "display_preference": preference}
    url = "/v1/payment_method_configurations"
    return {"object": "list", "url": url, "has_more": False, "data": [configuration]}
