"""``python -m pirf``."""

from pirf.cli import main

main()
