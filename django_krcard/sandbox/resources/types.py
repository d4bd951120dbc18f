"""Which payment method types a Session or a PaymentIntent ends up with."""

from ..errors import ApiError
from ..params import NEW_TYPES, OLD_TYPES, invalid
from ..store import Act, Body

KRW_ONLY = {"kr_card", "naver_pay", "kakao_pay"}

# Every name that `allowed_payment_method_types` of a PaymentIntent may have; those of a Session are among them.
ALL_NAMES = (
    "acss_debit affirm afterpay_clearpay alipay alma amazon_pay au_becs_debit bacs_debit bancontact billie bizum "
    "blik boku_promptpay boleto capchase_pay card card_present cashapp check_scan click_to_pay crypto "
    "customer_balance demo_pay duitnow dummy_auth_push dummy_passthrough_card edenred eps fpx gcash getbalance "
    "gift_card giropay gopay grabpay id_bank_transfer ideal interac_present kakao_pay klarna knet konbini kr_card "
    "kr_market kriya link mb_way mobilepay momo mondu multibanco naver_pay netbanking ng_bank ng_bank_transfer "
    "ng_card ng_market ng_ussd ng_wallet nz_bank_account octopus oxxo p24 paper_check pay_by_bank payco paynow "
    "paypal paypay payto pix promptpay qris rechnung revolut_pay samsung_pay satispay scalapay sepa_debit sequra "
    "shop_pay shopeepay sofort south_korea_market stripe_balance sunbit swish tamara test_pay touch_n_go "
    "truemoney twint upi us_bank_account us_cash_voucher vipps wechat_pay wero zip"
)
NAMES = frozenset(ALL_NAMES.split())


def effective(act: Act, given: Body) -> list[str]:
    """The old parameter is an order: what cannot be had is an error. The new one is a filter."""
    for parameter in (OLD_TYPES, NEW_TYPES):
        refuse_unknown(given.get(parameter, []), parameter)
    usable = [name for name in act.state.enabled_types if fits(name, given.get("currency"))]
    if OLD_TYPES in given:
        for name in given[OLD_TYPES]:
            if name not in usable:
                message = (
                    f"The payment method type provided: {name} is invalid. Please ensure the provided type "
                    "is activated in your dashboard and that it can be used with the currency."
                )
                raise ApiError(400, message, param=OLD_TYPES)
        return list(given[OLD_TYPES])
    types = [name for name in given.get(NEW_TYPES, usable) if name in usable]
    if not types:
        raise ApiError(400, "No valid payment method types for this request.", param=NEW_TYPES)
    return types


def refuse_unknown(names: list[str], parameter: str) -> None:
    """What Stripe never heard of is a mistake, and not a type that happens to be switched off."""
    for place, name in enumerate(names):
        if name not in NAMES:
            raise invalid(f"Invalid {parameter}[{place}]: {name} is no payment method type.", f"{parameter}[{place}]")


def fits(name: str, currency: str | None) -> bool:
    return name not in KRW_ONLY or currency in (None, "krw")
