"""Never a call to Stripe while a transaction is open: a slow answer must not hold locks, and a rollback must not
forget what Stripe has done."""

from django.db import connections, transaction

from django_krcard.exceptions import InsideTransaction


def refuse_inside_transaction() -> None:
    """Raise ``InsideTransaction`` if one is open on any database.

    The transaction that Django's own TestCase wraps around a test does not count.
    """
    for connection in connections.all(initialized_only=True):
        ours = [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]
        by_hand = not connection.in_atomic_block and connection.connection and not connection.get_autocommit()
        if ours or by_hand:
            raise InsideTransaction(
                "The network was to be used while a database transaction was open. Do it after the transaction, "
                "for example from transaction.on_commit(); with ATOMIC_REQUESTS mark the view non_atomic_requests."
            )


def never_atomic(view):
    """Keep ``view`` out of ATOMIC_REQUESTS, on every database of the site: it may call Stripe."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view
