"""`python -m fkd`: the command line."""

from fkd.cli import main

main()
