"""The commands: parse the options, call, print, exit. What they do lives elsewhere; click is imported only here."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from wsdiag.console import EXIT_CODES, Console, guarded

FORMATS = ("text", "json", "ndjson", "html", "markdown", "sarif")


class Commands(click.Group):
    """The group whose bare form reads a paste: `wsdiag` is `wsdiag diagnose -`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options without a command belong to `diagnose`, so `wsdiag --format json < log` works as well."""
        own = {"--help", "-h", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["diagnose", *args]
        return super().parse_args(ctx, args)


Command = TypeVar("Command", bound=Callable[..., Any])


def common(command: Command) -> Command:
    """The options that every reporting command has."""
    for option in (
        click.option("--lang", metavar="LANG", help="en or zh_CN (else WSDIAG_LANG, else the locale)."),
        click.option(
            "--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colour in the output."
        ),
        click.option("-v", "--verbose", count=True, help="Show the conversation and all bytes, annotated."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code tells the verdict."),
    ):
        command = option(command)
    return command


def formats(*names: str) -> Callable[[Command], Command]:
    """The options --format, -o and --reveal, for a command that can write those formats."""

    def add(command: Command) -> Command:
        for option in (
            click.option("--format", "form", type=click.Choice(names), default="text", help="How to write the report."),
            click.option("-o", "--output", type=click.Path(), metavar="FILE", help="Write to FILE."),
            click.option("--reveal", is_flag=True, help="Do not redact secrets in formats meant to be shared."),
        ):
            command = option(command)
        return command

    return add


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wsdiag")
def cli() -> None:
    """Names the root cause when a WebSocket will not connect.

    Paste what you have (a server's log, a browser's console, a hex buffer) into `wsdiag`, or give it files: logs,
    dumps, captures, in any mixture. Exit code: 0 healthy, 1 a root cause was found, 2 could not run, 3 undecided.
    """


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(), metavar="[FILE|-]...")
@formats(*FORMATS)
@click.option(
    "--keylog", type=click.Path(), metavar="FILE", help="TLS key log (SSLKEYLOGFILE) to decrypt captures with."
)
@click.option("--follow", is_flag=True, help="Keep reading a growing log, like tail -F, and report as lines arrive.")
@common
def diagnose(**options: Any) -> None:
    """Tell one story from all FILEs (- or none: standard input)."""

    def run(console: Console) -> int:
        from wsdiag.inputs import read_all

        files = tuple(options["files"])
        if options["follow"]:
            from wsdiag.following import follow

            return follow(files, console)
        if not files and sys.stdin is not None and sys.stdin.isatty():
            click.echo(console.words.text("interface", "paste-prompt"), err=True)
        gc.disable()  # one report and the end: there are no cycles worth the search for them
        report = read_all(files or ("-",), keylog=options["keylog"])
        deliver(report, options, console)
        return EXIT_CODES[report.verdict]

    _run(run, options)


@cli.command()
@click.argument("dumps", nargs=-1, metavar="[DUMP|-]...")
@formats("text", "json", "html", "markdown", "sarif")
@common
def decode(**options: Any) -> None:
    """Say what a dump is (which notation, which bytes, what they mean) and what is wrong with it.

    DUMPs are arguments or come on standard input.
    """

    def run(console: Console) -> int:
        from wsdiag.decode import decode as decode_plain
        from wsdiag.decode import read

        if options["form"] == "text" and not options["output"] and not options["quiet"]:
            return decode_plain(options["dumps"], console)
        report = read(options["dumps"])
        deliver(report, options, console)
        return EXIT_CODES[report.verdict]

    _run(run, options)


@cli.command()
@click.option(
    "-p", "--port", "ports", multiple=True, type=click.IntRange(1, 65535), help="Only this port (repeatable)."
)
@click.option("-i", "--interface", metavar="IFACE", help="Interface to listen on (default: all).")
@click.option("-r", "--read", metavar="FILE|-", help="Read a capture file or stream instead of an interface.")
@click.option("-w", "--write", metavar="FILE", help="Save the packets that were seen (pcap).")
@click.option("--keylog", type=click.Path(), metavar="FILE", help="TLS key log (SSLKEYLOGFILE).")
@click.option("--duration", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop after so long.")
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N packets.")
@formats(*FORMATS)
@common
def sniff(**options: Any) -> None:
    """Watch an interface (or read a capture with -r): one line per connection, then a summary.

    Without --port: every connection in which a WebSocket handshake is tried, on any port.
    """

    def run(console: Console) -> int:
        from wsdiag.sniff import Asked
        from wsdiag.sniff import sniff as start

        asked = Asked(
            ports=options["ports"],
            interface=options["interface"],
            read=options["read"],
            write=options["write"],
            keylog=options["keylog"],
            duration=options["duration"],
            packets=options["count"],
            form=options["form"],
            output=options["output"],
            quiet=options["quiet"],
            reveal=options["reveal"],
        )
        return start(asked, console)

    _run(run, options)


@cli.command()
@click.argument("name", metavar="NAME|CODE")
@common
def explain(**options: Any) -> None:
    """Show the page of one root cause: what it means, why it happens, how it is mended."""

    def run(console: Console) -> int:
        from wsdiag.model import WsdiagError
        from wsdiag.render.pages import explain_page
        from wsdiag.rules import catalogue

        wanted = options["name"].strip()
        causes = catalogue()
        cause = causes.get(wanted.lower()) or next(
            (each for each in causes.values() if each.code == wanted.upper()), None
        )
        if cause is None:
            import difflib

            near = difflib.get_close_matches(wanted.lower(), causes, n=3)
            raise WsdiagError("unknown-name", requested=wanted, near=", ".join(near))
        console.write(
            explain_page(cause.name, console.words, width=console.width, color=console.color, unicode=console.unicode)
        )
        return 0

    _run(run, options)


@cli.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to write the list.")
@common
def rules(**options: Any) -> None:
    """List every root cause that wsdiag knows."""

    def run(console: Console) -> int:
        from wsdiag.render.pages import rules_json, rules_table

        if options["form"] == "json":
            console.write(rules_json(console.words))
        else:
            console.write(rules_table(console.words, width=console.width, color=console.color, unicode=console.unicode))
        return 0

    _run(run, options)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of the report."""
    click.echo((Path(__file__).parent / "render" / "report.schema.json").read_text(encoding="utf-8"), nl=False)


def deliver(report: Any, options: dict[str, Any], console: Console) -> None:
    """Write the report in the wanted form, to the file or to standard output."""
    if options["quiet"] and not options["output"]:
        return
    if options["form"] == "text" and not options["output"]:
        console.report(report)
        return
    from wsdiag.output import send

    send(report, options["form"], options["output"], console, reveal=options["reveal"])


def _run(run: Any, options: dict[str, Any]) -> None:
    """Run a command with its console, and exit with its code."""

    def whole() -> int:
        console = Console(options["lang"], options["color"], options["verbose"])
        return int(run(console))

    sys.exit(guarded(whole))
