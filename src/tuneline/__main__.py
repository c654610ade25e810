"""python -m tuneline"""

from tuneline.cli import main

main()
