"""What the tests and the comparison of notebooks share: only rows that ship with the package count."""

import os

os.environ["WORKEDPAPERS_SHIPPED_ONLY"] = "1"
