"""Writing captures as nanosecond pcap files; which packets go in is left to `live`, other payloads to `rewrite`."""

import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from wsdiag.intake.bpf import ACCEPT_BYTES
from wsdiag.model import WsdiagError

_MAGIC_NANOSECONDS = 0xA1B23C4D  # https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/ section 4
_FILE_HEAD = struct.Struct("=IHHiIII")
_RECORD_HEAD = struct.Struct("=IIII")


class PcapWriter:
    """A pcap file that is being written. Every failure of the disk is a WsdiagError("cannot-write")."""

    def __init__(self, file: BinaryIO, link: int, name: str = "-") -> None:
        self.name = name
        self._file = file
        self._write(_FILE_HEAD.pack(_MAGIC_NANOSECONDS, 2, 4, 0, 0, ACCEPT_BYTES, link))

    def packet(self, seconds: int, nanoseconds: int, data: bytes | memoryview, size: int) -> None:
        """Append a packet; `size` is its length on the wire, of which `data` may be the first part."""
        self._write(_RECORD_HEAD.pack(seconds, nanoseconds, len(data), size))
        self._write(data)

    def flush(self) -> None:
        """Hand what is buffered to the system, so that a reader of the file sees whole packets."""
        try:
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Write what is left and close the file (standard output stays open)."""
        try:
            if self._file is sys.stdout.buffer:
                self._file.flush()
            else:
                self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> "PcapWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> Exception:
        """A reader that went away (BrokenPipeError) is no failure of the disk: it stays what it is."""
        if isinstance(error, BrokenPipeError):
            return error
        return WsdiagError("cannot-write", path=self.name, detail=error.strerror or str(error))


def create(path: str, link: int) -> PcapWriter:
    """Create (or empty) the file and write the header; "-" is standard output."""
    if path == "-":
        return PcapWriter(sys.stdout.buffer, link)
    try:
        file = Path(path).open("wb")  # noqa: SIM115 (the writer closes it)
    except OSError as error:
        raise WsdiagError("cannot-write", path=path, detail=error.strerror or str(error)) from error
    return PcapWriter(file, link, path)
