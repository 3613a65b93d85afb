"""The figures of a report, and the page that shows it."""
