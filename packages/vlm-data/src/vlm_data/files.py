"""Writing files and folders so that a crash never leaves half of one under its final name."""

import contextlib
import hashlib
import os
import secrets
import shutil
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
        raise _unwritable(target, temporary, error, "file") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike[str], *, keep_others: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `path`; its content gets that name when the block ends well, and goes otherwise.

    A folder that is not there yet appears in one step. One that is there stays the same folder, which may be a link or
    the current one: first all that is replaced leaves it, then all that is new enters, so it never holds parts of both;
    if a step fails, all steps are undone. A process killed between two steps leaves the old content in `.NAME.HEX.old`
    beside it.

    Args:
        path: the folder; missing ones above it are made, and removed again if the block fails.
        keep_others: leave what is in `path` under names that the new folder does not have; else all of it is replaced.

    Raises:
        VlmError: if the folder cannot be written or the disk is full; the message names the path.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "model"
        >>> with replacing_folder(target) as temporary:
        ...     _ = (temporary / "weights").write_text("whole")
        >>> os.listdir(target)
        ['weights']
    """
    target = Path(os.path.realpath(path))
    mark = secrets.token_hex(4)
    temporary, old = (target.parent / f".{target.name}.{mark}.{kind}" for kind in ("tmp", "old"))
    made = [folder for folder in target.parents if not folder.exists()]
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if target.exists():
            _exchange(temporary, target, old, keep_others)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise _unwritable(Path(path), temporary, error, "folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # of the first that is in use
            for folder in made:
                folder.rmdir()


def _exchange(new: Path, target: Path, old: Path, keep_others: bool) -> None:
    """Move what is replaced from `target` to `old` and what is new into `target`; move all back if one step fails."""
    names, there = sorted(os.listdir(new)), sorted(os.listdir(target))
    leaving = [name for name in there if name in names] if keep_others else there
    with contextlib.ExitStack() as undo:
        old.mkdir()
        undo.callback(old.rmdir)
        for source, folder, moved in ((target, old, leaving), (new, target, names)):
            for name in moved:
                os.replace(source / name, folder / name)
                undo.callback(os.replace, folder / name, source / name)
        undo.pop_all()
    shutil.rmtree(old, ignore_errors=True)


def _unwritable(target: Path, temporary: Path, error: OSError, what: str) -> VlmError:
    where = f" ({error.filename})" if error.filename and Path(error.filename) not in (target, temporary) else ""
    return VlmError(
        f"cannot write {target}: {error.strerror or error}{where}. What was there before is unchanged, no part of "
        f"the new {what} was left. Free some space or choose a writable folder with --out."
    )


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
