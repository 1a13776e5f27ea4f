"""Release: immutable revisions of periods, the catalog that names them, recovery after a crash, rollback."""

from orchestration.ledger.readers import held_periods
from orchestration.release.catalog import BEHIND_REMEDY, Catalog, check_pointer, current_catalog
from orchestration.release.folder import FROM_A_BACKUP, changed_files, check_releases, is_there, mart_files, read_manifest, release_folder
from orchestration.release.history import list_catalogs, list_releases, rollback
from orchestration.release.publish import PeriodReport, ReleaseReport, release
from orchestration.release.record import policy_folders, released_policies
from orchestration.release.recorded import check_recorded
from orchestration.release.recovery import behind, recover, require_whole

__all__ = [
    "BEHIND_REMEDY",
    "FROM_A_BACKUP",
    "Catalog",
    "PeriodReport",
    "ReleaseReport",
    "behind",
    "changed_files",
    "check_pointer",
    "check_recorded",
    "check_releases",
    "current_catalog",
    "held_periods",
    "is_there",
    "list_catalogs",
    "list_releases",
    "mart_files",
    "policy_folders",
    "read_manifest",
    "recover",
    "release",
    "release_folder",
    "released_policies",
    "require_whole",
    "rollback",
]
