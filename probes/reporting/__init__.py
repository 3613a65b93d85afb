"""From pairs to a report of all probes."""
