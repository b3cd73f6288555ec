"""The public function, and the examples in its documentation."""

import doctest
from pathlib import Path

import pytest

import wsdiag
from wsdiag import api

SAMPLES = Path(__file__).parent.parent / "samples"


def test_examples_in_the_documentation() -> None:
    result = doctest.testmod(api)
    assert result.attempted
    assert not result.failed


def test_paths_text_and_bytes_make_one_report() -> None:
    folder = SAMPLES / "listener-ws-scheme--wm4115-ws-listener-chromium"
    report = wsdiag.diagnose(
        folder / "capture.pcap", (folder / "server.log").read_text(), (folder / "buffer.hex").read_bytes()
    )
    assert report.primary == "listener-ws-scheme"
    assert len(report.inputs) == 3


def test_a_list_is_as_good_as_arguments() -> None:
    assert wsdiag.diagnose(["frame not masked so close the connection"]).primary == "unmasked-client-frame"


def test_a_file_that_is_not_there_raises() -> None:
    with pytest.raises(wsdiag.WsdiagError) as error:
        wsdiag.diagnose(Path("no-such-file.log"))
    assert error.value.name == "file-not-found"
