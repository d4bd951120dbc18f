"""Names of issuers and card networks as people say them.

Stripe's lists are open. A site that meets a new name, or wants another word, adds it to these dicts.
"""

from django.utils.translation import gettext_lazy as _

#: Who issued a local card: Stripe's ``kr_card.brand``.
ISSUERS = {
    "bc": _("BC Card"),
    "citi": _("Citi Card"),
    "hana": _("Hana Card"),
    "hyundai": _("Hyundai Card"),
    "jeju": _("Jeju Bank Card"),
    "jeonbuk": _("Jeonbuk Bank Card"),
    "kakaobank": _("KakaoBank"),
    "kbank": _("K bank"),
    "kdbbank": _("KDB"),
    "kookmin": _("KB Kookmin Card"),
    "kwangju": _("Kwangju Bank Card"),
    "lotte": _("Lotte Card"),
    "mg": _("MG (KFCC)"),
    "nh": _("NH NongHyup Card"),
    "post": _("Korea Post"),
    "samsung": _("Samsung Card"),
    "savingsbank": _("Savings Bank"),
    "shinhan": _("Shinhan Card"),
    "shinhyup": _("Shinhyup (CU)"),
    "suhyup": _("Suhyup Card"),
    "tossbank": _("Toss Bank"),
    "woori": _("Woori Card"),
}

#: The network of an ordinary card: Stripe's ``card.brand``.
NETWORKS = {
    "amex": _("American Express"),
    "cartes_bancaires": _("Cartes Bancaires"),
    "diners": _("Diners Club"),
    "discover": _("Discover"),
    "eftpos_au": _("eftpos"),
    "jcb": _("JCB"),
    "mastercard": _("Mastercard"),
    "unionpay": _("UnionPay"),
    "visa": _("Visa"),
}


#: Wallets that Stripe can save, by ``type``. Of the card in them it tells nothing.
WALLETS = {
    "kakao_pay": _("Kakao Pay"),
    "naver_pay": _("Naver Pay"),
}


def name_of(payment_method) -> str:
    """The issuer of a local card, the wallet, else the network. A name that is not listed is never shown raw."""
    if payment_method.type == "kr_card":
        return str(ISSUERS.get(payment_method.brand, _("Korean card")))
    if payment_method.type in WALLETS:
        return str(WALLETS[payment_method.type])
    return str(NETWORKS.get(payment_method.brand, _("Card")))
