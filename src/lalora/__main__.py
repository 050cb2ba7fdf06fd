"""`python -m lalora` is `lalora`."""

from lalora.cli.main import main

main()
