"""``python -m align.cli`` is the command ``align``."""

from align.cli.app import main

main()
