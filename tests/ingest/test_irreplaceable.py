"""What is made once and lost later: the key of the pseudonyms and the vault are never replaced in silence."""

from __future__ import annotations

from typing import Any

import pytest

from orchestration.errors import BadInput, Failed


@pytest.fixture
def shop(company: Any, bills_feed: dict[str, Any]) -> Any:
    """A company whose customers are hashed numbers, with one bill landed."""
    bills_feed["columns"]["customer_id"] = "pseudonym(cust)"
    company.map(bills_feed)
    company.bills("bills_1.csv", "a,d1,13800000001,2025-01,voice,1,CNY")
    company.ingest()
    company.bills("bills_2.csv", "b,d2,13800000001,2025-01,voice,1,CNY")
    return company


@pytest.mark.parametrize(
    ("lost", "told"), [(None, "the key of the pseudonyms is gone"), ("", "is empty"), ("\n", "is empty"), ("ab" * 32, "not the key")]
)
def test_a_key_that_is_gone_empty_or_another_lands_nothing(shop: Any, lost: str | None, told: str) -> None:
    key = shop.deployment.data / "pseudonym.key"
    kept = key.read_text()
    key.unlink() if lost is None else key.write_text(lost)
    with pytest.raises(Failed, match=told) as caught:
        shop.ingest()
    assert "pseudonym.key" in caught.value.where and "from a backup" in caught.value.remedy
    assert key.exists() is (lost is not None), "none is made in its place"
    assert len(shop.in_force("bill_lines")) == 1
    key.write_text(kept)
    shop.ingest()
    assert len({customer for (customer,) in shop.in_force("bill_lines", "customer_id")}) == 1


def test_a_deployment_from_before_the_key_was_recorded_records_it_at_its_next_ingest(shop: Any) -> None:
    kept = [entry for entry in shop.ledger.entries() if entry.kind != "pseudonym_key"]
    shop.deployment.ledger.unlink()
    for entry in kept:
        shop.ledger.append(entry.kind, entry.payload)
    key = shop.deployment.data / "pseudonym.key"
    text = key.read_text()
    key.unlink()
    with pytest.raises(Failed, match="is gone"):
        shop.ingest()
    key.write_text(text)
    shop.ingest()
    shop.ingest()
    assert shop.kinds().count("pseudonym_key") == 1
    assert text not in str([entry.payload for entry in shop.ledger.entries()])


def test_another_name_of_the_deployment_would_hash_every_number_anew(shop: Any) -> None:
    shop.config["name"] = "store"
    with pytest.raises(BadInput, match="the data folder of deployment 'shop', and not of 'store'"):
        shop.ingest()
    shop.config["name"] = "shop"
    kept = shop.ledger.entries()
    shop.deployment.ledger.unlink()
    for entry in kept:
        # As an older version recorded it.
        shop.ledger.append(entry.kind, {name: value for name, value in entry.payload.items() if name != "deployment"})
    shop.config["name"] = "store"
    with pytest.raises(Failed, match=r"`name` in tierhouse\.yaml"):
        shop.ingest()
    shop.config["name"] = "shop"
    shop.ingest()
    shop.config["name"] = "store"
    with pytest.raises(BadInput, match="the data folder of deployment 'shop', and not of 'store'"):
        shop.ingest()


def test_an_empty_key_is_replaced_while_nothing_has_landed(company: Any, bills_feed: dict[str, Any]) -> None:
    company.map(bills_feed)
    key = company.deployment.data / "pseudonym.key"
    key.parent.mkdir(parents=True, exist_ok=True)
    key.touch()
    company.ingest()
    assert len(key.read_text()) == 64 and key.stat().st_mode & 0o077 == 0 and company.kinds() == []


def test_a_vault_that_is_gone_is_not_begun_anew(company: Any, customers_feed: dict[str, Any]) -> None:
    company.map(customers_feed)
    company.drop("customers_1.csv", "id,since,name,brand\nc1,2025-01-01,Ann,x\n")
    company.ingest()
    company.drop("customers_2.csv", "id,since,name,brand\nc2,2025-01-01,Bob,x\n")
    vault = company.deployment.vault
    kept = vault.read_bytes()
    for left in (None, b""):
        vault.unlink() if left is None else vault.write_bytes(left)
        with pytest.raises(Failed, match="the vault is gone, and with it the personal columns of customers"):
            company.ingest()
    vault.write_bytes(kept)
    company.ingest()
    assert company.vault("customers", "customer_id, name") == [("c1", "Ann"), ("c2", "Bob")]
