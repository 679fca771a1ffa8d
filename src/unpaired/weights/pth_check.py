"""What a `.pth` file would do to the reader, found before it is read: memory, time, calls.

The reader runs no code of a file, but believes its announcements: a zip file of 3 MB may unpack to
3 GB, a call of 30 bytes may ask for 2 GB, and tuples of tuples may take for ever as keys.
"""

import os
import pickletools
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO

from unpaired.errors import CheckpointError
from unpaired.memory import free

__all__ = ["most_bytes", "require_harmless"]

_RATIO, _SMALL = 16, 1_000_000  # of unpacked bytes to packed ones; bytes of a file that is tiny
_MOST_PICKLED = 8_000_000  # bytes: what a state_dict says of its tensors, names and shapes
_PICKLES = 5  # that a file of before 2020 begins with: marks, and then the state_dict
_NOT_STATE = "it is no state_dict of tensors"


def require_harmless(file: BinaryIO, path: object) -> None:
    """Requires that the open `.pth` file unpacks and unpickles to something of its own size.

    Zip files of today and pickles of before 2020 alike. What is no such file at all is for the
    reader to reject.

    Raises:
        CheckpointError: it would take far more memory than the file has, or than is free; or time
            without end; or it calls something that is no part of a state_dict.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        if file.read(4) != b"PK\x03\x04":
            file.seek(0)
            _scan(_pickles(file), size, path)
            return
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > min(most_bytes(size), free()):
                raise CheckpointError(
                    f"{path} has {size / 1e6:,.1f} MB and unpacks to {unpacked / 1e6:,.1f} MB: no "
                    "weights do, or they need more memory than is free"
                )
            pickles = [entry for entry in entries if entry.filename.endswith("data.pkl")]
            if sum(entry.file_size for entry in pickles) > _MOST_PICKLED:
                raise CheckpointError(f"{path} is rejected: {_NOT_STATE}")
            for entry in pickles:
                _scan([pickletools.genops(archive.read(entry))], entry.file_size, path)
    except (ValueError, LookupError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a plain state_dict of PyTorch ({type(error).__name__})"
        ) from error
    finally:
        file.seek(0)


def most_bytes(size: int) -> int:
    """The bytes that a file of `size` bytes may take in memory."""
    return _RATIO * size + _SMALL


def _pickles(file: BinaryIO) -> Iterable[Any]:
    """The pickles at the beginning of a file; the tensors' bytes follow them."""
    for _ in range(_PICKLES):
        yield pickletools.genops(file)
        if file.tell() > _MOST_PICKLED:
            raise ValueError(_NOT_STATE)


def _scan(pickles: Iterable[Any], size: int, path: object) -> None:
    """Follows pickles without running them: what they name, and how large their objects are.

    An object counts all that is in it, as often as it is there: tuples that hold one twice, whose
    parts hold one twice again, are few bytes, and as a key they take as many steps as they count.
    """
    for pickle in pickles:
        stack: list[int | None] = []
        memo: dict[int, int | None] = {}
        for code, value, _ in pickle:
            if code.name in ("GLOBAL", "INST"):
                module, _, name = str(value).partition(" ")
                if module.split(".")[0] != "torch" and value not in _PLAIN:
                    raise CheckpointError(
                        f"{path} names {ascii(module)[1:-1]}.{ascii(name)[1:-1]}, which is not a "
                        "tensor, and may run code when it is read: only plain state_dicts are read"
                    )
            if code.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[value] = stack[-1]
            elif code.name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            elif code.name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[value])
            elif code.name == "MARK":
                stack.append(None)
            else:
                count, plain = 1, len(code.stack_before)
                if pickletools.markobject in code.stack_before:
                    plain = code.stack_before.index(pickletools.markobject)
                    while (part := stack.pop()) is not None:
                        count += part
                for _ in range(plain):
                    count += stack.pop() or 0
                if count > 64 * size + 1000:
                    raise ValueError(_NOT_STATE)
                stack += [count] * len(code.stack_after)


# Besides those of PyTorch, whose own reader decides which of them it calls.
_PLAIN = ("collections OrderedDict", "builtins set", "__builtin__ set")
