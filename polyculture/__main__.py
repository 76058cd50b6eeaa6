"""``python -m polyculture`` is the command line."""

from polyculture.cli.app import main

main()
