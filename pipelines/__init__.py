"""Sentences: sources, sinks and stages joined into programs, and the command line."""

if __name__ != "consentry.pipelines":
    raise ImportError(
        "'pipelines' is a folder of the source tree, not the package: run `pip install -e .` "
        "and import `consentry.pipelines`"
    )
