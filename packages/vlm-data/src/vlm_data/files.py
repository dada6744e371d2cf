"""Writing files so that a crash never leaves half of one under its final name."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from vlm_data.errors import VlmError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` when the block ends well, remove it otherwise.

    Raises:
        VlmError: if the folder cannot be written or the disk is full; the message names the path.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with replacing(target) as temporary:
        ...     _ = temporary.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "r+b") as handle:  # Windows refuses to sync what is open for reading only
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        where = f" ({error.filename})" if error.filename and Path(error.filename) not in (target, temporary) else ""
        raise VlmError(
            f"cannot write {target}: {error.strerror or error}{where}. What was there before is unchanged, no part of "
            "the new file was left. Free some space or choose a writable folder with --out."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` atomically (see `replacing`)."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 to `path` atomically (see `replacing`)."""
    write_bytes(path, text.encode())


def text_hash(*parts: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the parts, order and boundaries included.

    Example:
        >>> text_hash("zero", "one") == text_hash("zeroone")
        False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
