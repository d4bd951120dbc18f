"""The one account of the sandbox, in a country whose businesses can take Korean cards."""

from ..params import Params
from ..store import Act, Body

RETRIEVE = Params({})

CAPABILITIES = ("card", "kakao_pay", "kr_card", "naver_pay")


def retrieve(act: Act, wanted: Body) -> Body:
    on = act.state.enabled_types
    return {
        "id": "acct_sandbox_1",
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
