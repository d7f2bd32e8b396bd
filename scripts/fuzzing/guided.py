"""One target under atheris, which keeps the inputs that reach new parts of the code.

Run as a process of its own: ``python -m scripts.fuzzing.guided TARGET DIRECTORY... -OPTION=...``,
the options being libFuzzer's. It never returns; the first broken promise ends it with a traceback.
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["vpopsql"]):
    from scripts.fuzzing.targets import opened


def main() -> None:
    """Run until the options say that it is enough."""
    name, *arguments = sys.argv[1:]
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(opened(name))
        atheris.Setup([sys.argv[0], *arguments], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
