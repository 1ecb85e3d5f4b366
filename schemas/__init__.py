"""Nouns: the typed values that flow through Consentry, and their rules. Imports nothing else of ours."""

if __name__ != "consentry.schemas":
    raise ImportError(
        "'schemas' is a folder of the source tree, not the package: run `pip install -e .` "
        "and import `consentry.schemas`"
    )
