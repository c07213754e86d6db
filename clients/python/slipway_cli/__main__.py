"""`python -m slipway_cli` is `slipway`."""

from slipway_cli.main import main

main()
