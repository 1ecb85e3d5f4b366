"""Verbs: what is done to records. Public transforms load on first use, so that programs without Beam stay light."""

if __name__ != "consentry.transforms":
    raise ImportError(
        "'transforms' is a folder of the source tree, not the package: run `pip install -e .` "
        "and import `consentry.transforms`"
    )
