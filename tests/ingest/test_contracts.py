"""What all contracts have in common."""

from __future__ import annotations

from orchestration.ingest import load_contracts


def test_what_is_added_up_has_no_more_decimals_than_sums_of_it() -> None:
    """Measures are decimals with four places; a fifth would be rounded before it is compared. Who delivers more says how in the mapping."""
    scales = {
        f"{entity}.{name}": column.scale for entity, contract in load_contracts().items() for name, column in contract.columns.items()
    }
    decimals = {place: scale for place, scale in scales.items() if scale is not None}
    assert len(decimals) > 10
    assert {place: scale for place, scale in decimals.items() if scale > 4} == {}
