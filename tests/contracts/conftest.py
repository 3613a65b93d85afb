"""Contract tests stay offline: nothing is reported to anybody."""

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
