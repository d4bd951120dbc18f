"""Disputes: the customer tells the issuer that a charge is not theirs, or not right."""

from ..errors import ApiError, SandboxError, no_such
from ..events import emit
from ..objects import DISPUTE_TEXTS, dispute
from ..params import Params, flag, mapping, metadata, text
from ..store import Act, Body, changed, find, merged, save
from . import charges
from .lists import PAGING, listed

REASONS = (
    "credit_not_processed",
    "duplicate",
    "fraudulent",
    "general",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
)
CLOSED = ("won", "lost")

# Evidence in words; files are not modelled.
EVIDENCE = mapping(**dict.fromkeys(DISPUTE_TEXTS.split(), text(150_000, clearable=True)))
UPDATE = Params({"evidence": EVIDENCE, "metadata": metadata, "submit": flag})
RETRIEVE = CLOSE = Params({})
LIST = Params({**PAGING, "charge": text(), "payment_intent": text()})


def open_(act: Act, intent_id: str, reason: str) -> Body:
    """The customer disputes the charge, and Stripe takes the money back at once."""
    if reason not in REASONS:
        raise SandboxError(f"A dispute's reason is one of {', '.join(REASONS)}.")
    intent = find("payment_intent", intent_id)
    if intent is None or intent["status"] != "succeeded":
        raise SandboxError(f"There is no PaymentIntent {intent_id} that succeeded.")
    charge = find("charge", intent["latest_charge"]) or {}
    if charge["disputed"] or charge["refunded"]:
        raise SandboxError(f"Charge {charge['id']} is {'disputed' if charge['disputed'] else 'refunded'} already.")
    body = save(act, dispute(act, charge, reason))
    charges.change(act, charge, "charge.updated", disputed=True)
    emit(act, "charge.dispute.created", body)
    emit(act, "charge.dispute.funds_withdrawn", body)
    return body


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    body = find("dispute", id)
    if body is None:
        raise no_such("dispute", id, param="dispute")
    return body


def list_(act: Act, wanted: Body) -> Body:
    return listed("dispute", wanted, "/v1/disputes")


def update(act: Act, given: Body, id: str) -> Body:
    """The shop's answer. Unless told otherwise, it goes to the issuer at once, and only once."""
    submit, evidence = given.pop("submit", True), given.pop("evidence", {})
    before = retrieve(act, {}, id)
    if before["status"] in CLOSED:
        raise ApiError(400, "This dispute is already closed.", param="dispute")
    if evidence and before["status"] != "needs_response":
        raise ApiError(400, "You have already submitted your evidence for this dispute.", param="evidence")
    after = merged(before, given)
    after["evidence"] = before["evidence"] | evidence
    after["evidence_details"] = before["evidence_details"] | {"has_evidence": any(after["evidence"].values())}
    if submit and evidence:
        after["evidence_details"] |= {"submission_count": 1, "submission_method": "manual"}
        after["status"] = "under_review"
    save(act, after)
    emit(act, "charge.dispute.updated", after, changed(before, after))
    return after


def close(act: Act, given: Body, id: str) -> Body:
    """The shop gives in."""
    if retrieve(act, {}, id)["status"] != "needs_response":
        raise ApiError(400, "This dispute cannot be closed: it does not wait for a response.", param="dispute")
    return decide(act, id, won=False)


def decide(act: Act, id: str, *, won: bool) -> Body:
    before = find("dispute", id)
    if before is None or before["status"] in CLOSED:
        raise SandboxError(f"There is no open dispute {id}.")
    after = save(act, before | {"status": "won" if won else "lost"})
    if won:
        emit(act, "charge.dispute.funds_reinstated", after)
    emit(act, "charge.dispute.closed", after, {"status": before["status"]})
    return after
