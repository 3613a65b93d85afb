"""Contract tests stay offline: nothing is reported to anybody."""

import os

from tiny_models import (  # noqa: F401  # fixtures are found by name
    bert,
    cache,
    sbert,
    sentence_folder,
    write,
)

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
