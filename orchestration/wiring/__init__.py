"""Everything that imports Dagster: how the domain functions become assets, checks, jobs, schedules and sensors.

What does not belong here: anything that decides what lands, what a level is, what passes a gate or what is released.
Each module here calls one function of the domain per step and reports what it returned. ``build.build_defs`` puts the
parts together for one deployment; ``launch.run_months`` runs months in this process for the command line.
"""

import warnings

from dagster import BetaWarning

# Dagster warns of every beta parameter at every start; single-run backfills are one, and the version is locked.
warnings.filterwarnings("ignore", category=BetaWarning)
