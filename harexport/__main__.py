"""`python -m harexport`, for where the console script is not on the path."""

from harexport.cli import main

main()
