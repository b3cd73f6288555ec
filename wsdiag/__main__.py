"""The way in. `decode` of plain arguments and the bare `wsdiag` go straight to their work; everything else goes through
the commands.

A person who pipes a hundred buffers through `wsdiag decode` should not wait for a command-line library (click takes 45
ms to import, as much as all the rest); what needs options is parsed by `cli` as usual.
"""

import gc
import os
import sys

# Set by the shell when it asks click for completions; it calls `wsdiag` without arguments then.
_COMPLETION = "_WSDIAG_COMPLETE"


def main() -> None:
    """Run the command line and exit."""
    try:
        _run(sys.argv[1:])
    finally:
        # The system takes back what is left; to search it for cycles first would be a tenth of a short run.
        gc.freeze()


def _run(arguments: list[str]) -> None:
    if arguments[:1] == ["decode"] and all(not each.startswith("-") or each == "-" for each in arguments[1:]):
        gc.disable()  # a run of some milliseconds over one dump leaves nothing worth collecting
        from wsdiag.console import Console, guarded
        from wsdiag.decode import decode

        sys.exit(guarded(lambda: decode(arguments[1:], Console())))
    if not arguments and _COMPLETION not in os.environ:
        from wsdiag.console import Console, guarded
        from wsdiag.pasted import pasted

        sys.exit(guarded(lambda: pasted(Console())))
    from wsdiag.cli import cli

    cli()


if __name__ == "__main__":
    main()
