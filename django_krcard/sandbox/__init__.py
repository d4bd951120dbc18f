"""Stripe in a box: a stateful stand-in for Stripe's API, for development and tests.

The real stripe-python talks to it through its HTTP-client seam, so a site runs the same code
with and without it. State lives in this app's own tables: it survives a restart and is shared
by all worker processes.

    INSTALLED_APPS += ["django_krcard.sandbox"]
    path("stripe-sandbox/", include("django_krcard.sandbox.urls"))

    client = StripeClient("sk_test_anything", http_client=SandboxHTTPClient())

`django_krcard.sandbox.control` plays the customer, the issuer and the weather: it authorises,
declines, detaches, holds back events, turns the clock, takes the network away.

What it does not model (a parameter or an address it does not know is refused, never ignored):

* Checkout in other modes than `setup`; other UI modes than the hosted page; custom fields;
* SetupIntents made directly, confirming or capturing a PaymentIntent later, on-session charges;
* refunds, disputes, subscriptions, invoices, SetupAttempts, balance transactions, search;
* Naver Pay and Kakao Pay beyond being listed as types: the hosted page offers only the two cards;
* thin events, several webhook endpoints, redelivery by itself, API keys with restricted rights;
* rate limits (unless asked for by `control.fail_next`), Connect accounts, API v2, `ending_before`;
* response shapes of older API versions: objects always look as in `2026-10-28.endive`.
"""
