"""Every message once, every effect once, none lost: whatever the order, the copies, and who is killed."""

import pytest

from tests.webhooks import storm
from tests.webhooks.mutations import SEED, new_seed

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

DELIVERIES = 5_000


def test_every_message_counts_once(tmp_path):
    seed = new_seed()
    figures, complaints = storm.run(deliveries=DELIVERIES, workers=storm.WORKERS, seed=seed, folder=tmp_path)
    print(figures)
    assert not complaints, "\n".join([f"Again with {SEED}={seed}:", *complaints[:20]])
    assert figures.deliveries >= DELIVERIES
    assert figures.duplicates > DELIVERIES / 20
    assert figures.killed > 10
    assert figures.left_to_the_sweeps > 10
