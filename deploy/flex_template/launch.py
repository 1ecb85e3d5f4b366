"""Starts ``consentry stream`` with the parameters of a Flex Template, which its launcher passes as options."""

import sys

from consentry.pipelines.cli import main


def arguments(given: list[str]) -> list[str]:
    """Returns the command line: parameters are options of ``stream``; blank ones count as not given.

    >>> arguments(["--dataset=orders", "--to=", "--region=europe-west3"])
    ['consentry', 'stream', '--dataset=orders', '--region=europe-west3']
    """
    return ["consentry", "stream", *(each for each in given if not each.startswith("--") or not each.endswith("="))]


if __name__ == "__main__":
    sys.argv = arguments(sys.argv[1:])
    main()
