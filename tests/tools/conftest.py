from __future__ import annotations

import sys
from pathlib import Path

# `tools` is run from the repository's root and installed nowhere.
sys.path.append(str(Path(__file__).parents[2]))
