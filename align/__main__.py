"""``python -m align`` is the command ``align``."""

from align.apps.cli.app import main

main()
