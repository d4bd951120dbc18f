"""Stripe in a box: a stateful stand-in for Stripe's API, for development and tests.

The real stripe-python talks to it through its HTTP-client seam, so a site runs the same code
with and without it. State lives in this app's own tables: it survives a restart and is shared
by all worker processes.

    INSTALLED_APPS += ["django_krcard.sandbox"]
    path("stripe-sandbox/", include("django_krcard.sandbox.urls"))

    client = StripeClient("sk_test_anything", http_client=SandboxHTTPClient())

It runs neither without DEBUG (unless told that no money is meant to move) nor beside a live STRIPE_SECRET_KEY.

`django_krcard.sandbox.control` plays the customer, the issuer and the weather: it authorises,
declines, disputes, detaches, holds back events, turns the clock, takes the network away.

What it does not model (a parameter or an address it does not know is refused, never ignored):

* Checkout in subscription mode; prices by id, tax, discounts, shipping there; other UI modes than the hosted page;
  custom fields;
* SetupIntents and first payments with an ordinary card (that needs Stripe's card field), with a saved one or with a
  ConfirmationToken; updating a SetupIntent; updating or capturing a PaymentIntent;
* an issuer's page that runs out of time: a PaymentIntent waits for its customer until somebody finishes, confirms or
  cancels it. Stripe's "confirmation limit", and the "rare cases" in which what is processing can be cancelled;
* refunds that are pending or cancelled; evidence files of disputes, inquiries, dispute fees; balance transactions;
* subscriptions but for licensed prices in won, charged automatically: no trials, proration, discounts, tax,
  metered or tiered prices, schedules, change of interval, `resumes_at`, and no `payment_behavior` but
  `allow_incomplete` and `error_if_incomplete`. A failed invoice is tried on the third, sixth and ninth day, then the
  subscription ends;
* invoices made by hand, invoice items, credit notes, previews; SetupAttempts; search;
* events that tell only that an object was made or touched (`customer.created`, `payment_intent.created`,
  `setup_intent.created` of a Session, `charge.updated` but for disputes and failed refunds);
* webhook endpoints as places to send to: they are kept as records, and messages go to the site's
  `krcard:webhook`, signed with the first STRIPE_WEBHOOK_SECRET. A message that was not taken waits for
  `control.retry_failed`; thin events are a setting of the whole box and tell no `changes`;
* payment method configurations but for one, which is read and not changed: it tells of what is switched on;
* payment method types by address: any name that a PaymentIntent may list is known everywhere, and one that is
  known but not switched on is left out silently;
* subscriptions that lose their own `default_payment_method` when it is detached: only the customer's is cleared;
* a clock after the year 9000; beta flags in `Stripe-Version` (`2026-10-28.endive;some_beta=v1`);
* rate limits (unless asked for by `control.rate_limit_next`), API keys with restricted rights, Connect accounts,
  API v2 but for fetching a thin event;
* response shapes of older API versions: objects always look as in `2026-10-28.endive`.
"""
