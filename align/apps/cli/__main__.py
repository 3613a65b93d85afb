"""``python -m align.apps.cli`` is the command ``align``."""

from align.apps.cli.app import main

main()
