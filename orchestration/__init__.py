"""Tierhouse: from raw billing and service data to tiers that can be defended.

Folder names follow the data: ``ingest`` (drops to landing), ``policy`` (seeds to compiled rules), ``warehouse``
(the plan of a run and the call of dbt), ``gate``, ``release``, ``channels``, ``audit`` (explain). ``ledger`` records
what happened; ``wiring`` holds everything that imports Dagster; ``cli`` is the command line. Domain code imports
neither ``wiring`` nor ``cli``.
"""
