// Stripe's own SDK for Node, on the served sandbox: node stories.mjs STORY ADDRESS COMMAND…
// COMMAND is `krcard_sandbox` as this machine runs it: the hands of the customer and of the issuer.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import Stripe from "stripe";

const [story, address, program, ...arguments_] = process.argv.slice(2);
const { hostname, port } = new URL(address);
const options = { protocol: "http", host: hostname, port, telemetry: false, maxNetworkRetries: 0 };
const stripe = new Stripe("sk_test_node", options);
const play = (...said) => execFileSync(program, [...arguments_, ...said], { encoding: "utf8" });

async function openSession() {
  const customer = await stripe.customers.create({ name: "김민지", metadata: { 회원: "7" } });
  const session = await stripe.checkout.sessions.create({
    mode: "setup",
    currency: "krw",
    customer: customer.id,
    allowed_payment_method_types: ["card", "kr_card"],
    success_url: "http://127.0.0.1:3000/done?session={CHECKOUT_SESSION_ID}",
    cancel_url: "http://127.0.0.1:3000/",
  });
  return { customer, session };
}

async function saveCard() {
  const { customer, session } = await openSession();
  play("authorise", session.id, "--brand", "kakaobank", "--last4", "0427");
  const done = await stripe.checkout.sessions.retrieve(session.id, {
    expand: ["setup_intent.payment_method", "setup_intent.mandate"],
  });
  return { customer, session: done, card: done.setup_intent.payment_method, mandate: done.setup_intent.mandate };
}

const charge = (customer, card, amount = 12900) => ({
  amount,
  currency: "krw",
  customer: customer.id,
  payment_method: card.id,
  allowed_payment_method_types: ["kr_card"],
  off_session: true,
  confirm: true,
});

const stories = {
  async saves_and_charges_a_card() {
    const { customer, session, card, mandate } = await saveCard();
    assert.equal(customer.metadata["회원"], "7");
    assert.equal(session.status, "complete");
    assert.deepEqual(card.kr_card, { brand: "kakaobank", last4: "0427" });
    assert.equal(mandate.status, "active");

    const intent = await stripe.paymentIntents.create(charge(customer, card));
    assert.equal(intent.status, "succeeded");
    const again = await stripe.paymentIntents.retrieve(intent.id, { expand: ["latest_charge"] });
    assert.equal(again.latest_charge.amount, 12900);
    assert.equal(again.lastResponse.statusCode, 200);
    assert.match(again.lastResponse.requestId, /^req_sandbox_/);

    play("revoke", card.id);
    assert.equal((await stripe.mandates.retrieve(mandate.id)).status, "inactive");
    assert.equal((await stripe.paymentMethods.detach(card.id)).customer, null);
  },

  async pages_through_a_list() {
    const made = [];
    for (let number = 0; number < 7; number += 1) {
      made.push((await stripe.customers.create({ name: `Member ${number}`, email: "list@example.com" })).id);
    }
    const seen = [];
    for await (const customer of stripe.customers.list({ email: "list@example.com", limit: 3 })) seen.push(customer.id);
    assert.deepEqual(seen, made.reverse());
    const gathered = await stripe.customers.list({ email: "list@example.com", limit: 2 }).autoPagingToArray({ limit: 5 });
    assert.deepEqual(gathered.map(({ id }) => id), made.slice(0, 5));
    const events = await stripe.events.list({ limit: 100 });
    assert.equal(events.object, "list");
  },

  async meets_the_errors_it_knows() {
    const { customer, card } = await saveCard();
    const { StripeCardError, StripeInvalidRequestError, StripeRateLimitError } = Stripe.errors;
    const { StripeAPIError, StripeAuthenticationError, StripeConnectionError } = Stripe.errors;

    play("decline-next", "insufficient_funds");
    await assert.rejects(stripe.paymentIntents.create(charge(customer, card)), (error) => {
      assert.ok(error instanceof StripeCardError);
      assert.equal(error.code, "card_declined");
      assert.equal(error.decline_code, "insufficient_funds");
      assert.equal(error.payment_intent.status, "requires_payment_method");
      return true;
    });
    await assert.rejects(stripe.paymentIntents.retrieve("pi_nothing"), (error) => {
      assert.ok(error instanceof StripeInvalidRequestError);
      assert.equal(error.code, "resource_missing");
      assert.equal(error.statusCode, 404);
      return true;
    });
    const old = { ...charge(customer, card), allowed_payment_method_types: undefined, payment_method_types: ["kr_card"] };
    await assert.rejects(stripe.paymentIntents.create(old), { code: "payment_method_types_no_longer_supported" });
    await assert.rejects(new Stripe("pk_test_node", options).customers.list(), StripeAuthenticationError);
    play("rate-limit-next", "1");
    await assert.rejects(stripe.customers.list(), StripeRateLimitError);
    play("outage", "GET", "/v1/customers", "--status", "503");
    await assert.rejects(stripe.customers.list(), StripeAPIError);
    // A closed connection is tried once more by this SDK, whatever it is told.
    for (let time = 0; time < 2; time += 1) play("outage", "GET", "/v1/customers", "--status", "timeout");
    await assert.rejects(stripe.customers.list(), StripeConnectionError);
  },

  async repeats_itself_under_one_key() {
    const params = { name: "Twice", email: "twice@example.com" };
    const first = await stripe.customers.create(params, { idempotencyKey: "twice" });
    const second = await stripe.customers.create(params, { idempotencyKey: "twice" });
    assert.equal(second.id, first.id);
    assert.equal(second.lastResponse.headers["idempotent-replayed"], "true");
    await assert.rejects(
      stripe.customers.create({ name: "Other" }, { idempotencyKey: "twice" }),
      Stripe.errors.StripeIdempotencyError,
    );

    // The answer is lost on its way; the SDK asks again under its key, and there is one customer.
    const patient = new Stripe("sk_test_node", { ...options, maxNetworkRetries: 2 });
    play("outage", "POST", "/v1/customers", "--effect", "after", "--status", "timeout");
    await patient.customers.create({ email: "lost@example.com" });
    assert.equal((await stripe.customers.list({ email: "lost@example.com" })).data.length, 1);
  },
};

await stories[story]();
