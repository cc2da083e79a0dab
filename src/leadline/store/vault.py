"""What is sealed, under which key, and how a key is destroyed.

Each person has a key of their own. Texts, names and identifiers are sealed under it with
AES-256-GCM; the person, the field and the row are bound in, so no sealed value can stand in
another's place. The keys lie in the database wrapped under the store's key, which never does: a
file, an environment variable or a command gives it. With a person's key destroyed, everything of
theirs is unreadable in every copy of the database that does not hold that key.

What must be found again (who a message is of, whether it came before) is kept as HMAC-SHA256 under
a key of the store, which is itself wrapped, so that the store's key can be changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from leadline.artefact import FILE_MODE, pending_name, sync, take_lock
from leadline.errors import LeadlineError, Unreachable
from leadline.output import check_apart
from leadline.settings import setting

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_VARIABLE = "LEADLINE_STORE_KEY"
COMMAND_SECONDS = 30


@dataclass(frozen=True)
class KeyConfig:
    """Where the store's key comes from; the environment variable LEADLINE_STORE_KEY goes first."""

    key_file: Path | None = setting(
        None, "File that holds the store's key (default: beside a store of SQLite, .key)."
    )
    key_command: str | None = setting(None, "Command that prints the store's key, in base64.")


class SealBroken(LeadlineError):
    """A sealed value that was changed, moved, or sealed under another key."""

    def __init__(self) -> None:
        super().__init__(
            "A sealed value of the store does not open: it was changed, or the key is another.",
            remedy="Give the key that the store was made with, or bring the row back from a copy.",
        )

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Let it pass between processes."""
        return type(self), ()


class PersonKey:
    """Seals and opens what is of one person.

    Args:
        key: 32 bytes.
        person_id: bound into everything that is sealed.
    """

    def __init__(self, key: bytes, person_id: str) -> None:
        self._cipher, self._person_id = AESGCM(key), person_id
        self._mac = hashlib.blake2b(b"digest", key=key, digest_size=KEY_BYTES).digest()

    def seal(self, text: str, field: str, row: int | str = "") -> bytes:
        """Nonce and sealed text."""
        return _sealed(self._cipher, text.encode(), self._bound(field, row))

    def open(self, sealed: bytes, field: str, row: int | str = "") -> str:
        """The text again.

        Raises:
            SealBroken: it was changed, or is of another field, row or person.
        """
        return _opened(self._cipher, sealed, self._bound(field, row)).decode()

    def digest(self, *parts: str) -> bytes:
        """What tells equal contents from others, and nothing without the key; 32 bytes."""
        return _hmac(self._mac, *parts)

    def _bound(self, field: str, row: int | str) -> bytes:
        return f"{self._person_id}|{row}|{field}".encode()


class Vault:
    """The keys of a store.

    Args:
        key: the store's key, 32 bytes.
        wrapped_lookup: the wrapped key of hashes that the store holds; None makes one.
    """

    def __init__(self, key: bytes, wrapped_lookup: bytes | None = None) -> None:
        self.key_id = hashlib.sha256(b"leadline store key" + key).hexdigest()[:16]
        self._cipher = AESGCM(key)
        self._lookup = (
            os.urandom(KEY_BYTES)
            if wrapped_lookup is None
            else _opened(self._cipher, wrapped_lookup, b"lookup")
        )

    def wrapped_lookup(self) -> bytes:
        """The key of hashes, as the store keeps it."""
        return self._wrap(self._lookup, b"lookup")

    def find(self, kind: str, *parts: str) -> bytes:
        """The keyed hash by which something is found again, 32 bytes."""
        return _hmac(self._lookup, kind, *parts)

    def new_key(self, person_id: str) -> tuple[PersonKey, bytes]:
        """A new person's key, and as the store keeps it."""
        key = os.urandom(KEY_BYTES)
        return PersonKey(key, person_id), self._wrap(key, person_id.encode())

    def person_key(self, wrapped: bytes, person_id: str) -> PersonKey:
        """The key of a person."""
        return PersonKey(_opened(self._cipher, wrapped, person_id.encode()), person_id)

    def rewrapped(self, wrapped: bytes, person_id: str, new: Vault) -> bytes:
        """A person's key wrapped under the key of another vault."""
        return new._wrap(_opened(self._cipher, wrapped, person_id.encode()), person_id.encode())

    def with_key(self, key: bytes) -> Vault:
        """The same hashes under another key of the store."""
        return Vault(key, _sealed(AESGCM(key), self._lookup, b"lookup"))

    def seal(self, text: str, field: str) -> bytes:
        """Seal what is of no person, such as the name of a team."""
        return self._wrap(text.encode(), field.encode())

    def open(self, sealed: bytes, field: str) -> str:
        """What `seal` sealed."""
        return _opened(self._cipher, sealed, field.encode()).decode()

    def _wrap(self, key: bytes, bound: bytes) -> bytes:
        return _sealed(self._cipher, key, bound)


def _sealed(cipher: AESGCM, content: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, content, bound)


def _opened(cipher: AESGCM, sealed: bytes, bound: bytes) -> bytes:
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):  # a nonce that is too short is a value
        raise SealBroken from None


def _hmac(key: bytes, *parts: str) -> bytes:
    """HMAC-SHA256 over parts with their lengths, so that no two lists of parts are one."""
    encoded = [part.encode() for part in parts]
    body = b"".join(len(part).to_bytes(8, "big") + part for part in encoded)
    return hmac.digest(key, body, "sha256")


def new_key_file(path: Path) -> bytes:
    """Make a key of a store, in a file of its owner's alone.

    Raises:
        LeadlineError: as `new_key`.
    """
    with new_key(path) as key:
        return key


@contextmanager
def new_key(path: Path) -> Iterator[bytes]:
    """A new key, whose file gets its name when the block has ended without an error.

    Until then it lies beside its place, where the same command finds it after a kill: what is
    wrapped under it by then can be opened.

    Raises:
        LeadlineError: a key lies at `path`, another process makes one, or no file can be made.
    """
    _refuse_key(path)
    check_apart(path)
    waiting = path.with_name(pending_name(path.name))
    handle = _open_waiting(path, waiting)
    try:
        take_lock(handle, "Another process makes this key.", "Wait until it ends.", path)
        earlier = _key_in(os.pread(handle, 2 * KEY_BYTES, 0).decode("ascii", "replace"))
        key = earlier or _write_key(handle)
        sync(path.parent)
        try:
            yield key
        except Unreachable:
            raise  # whether it came to be the store's key is not known
        except LeadlineError:
            if earlier is None:
                waiting.unlink()
            raise
        _refuse_key(path)
        waiting.replace(path)
        sync(path.parent)
    finally:
        os.close(handle)


def _refuse_key(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise LeadlineError(
            "A key lies here already.",
            file=path,
            remedy="Give it with --key-file to a store that has none yet, or name another file.",
        )


def _open_waiting(path: Path, waiting: Path) -> int:
    try:
        handle = os.open(waiting, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, FILE_MODE)
    except OSError as error:
        raise LeadlineError(
            f"The key cannot be written here ({error.strerror}).",
            file=path,
            remedy="Name a file in a folder that is there and that you may write to.",
        ) from error
    status = os.fstat(handle)
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or status.st_nlink != 1:
        os.close(handle)
        raise LeadlineError(
            "What lies here is not your own file alone.", file=waiting, remedy="Remove it first."
        )
    return handle


def _write_key(handle: int) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    os.ftruncate(handle, 0)
    os.pwrite(handle, base64.b64encode(key) + b"\n", 0)
    os.fsync(handle)
    return key


def read_key(config: KeyConfig, beside: Path | None = None) -> bytes:
    """The store's key, from the environment, a command or a file.

    Args:
        config: as the user gave it.
        beside: the file of the store, if it is one.

    Raises:
        LeadlineError: there is none, it is no key, or others may read its file.
    """
    if KEY_VARIABLE in os.environ:
        return _decoded(os.environ[KEY_VARIABLE], KEY_VARIABLE)
    if config.key_command:
        return _decoded(_printed(config.key_command), "--key-command")
    path = key_path(config, beside)
    if not path.is_file():
        raise LeadlineError(
            "The key of the store is not here; without it nothing in the store can be read.",
            file=path,
            remedy=f"Give it with --key-file, --key-command or {KEY_VARIABLE}.",
        )
    if path.stat().st_mode & 0o077:
        raise LeadlineError(
            "Others may read the key of the store.", file=path, remedy="Run: chmod 600 on it."
        )
    return _decoded(path.read_text(encoding="ascii", errors="replace"), path)


def key_path(config: KeyConfig, beside: Path | None) -> Path:
    """The file of the key: as given, or beside the store."""
    if config.key_file is not None:
        return config.key_file
    if beside is None:
        raise LeadlineError(
            "A store in PostgreSQL has no place beside it for a key.",
            remedy=f"Give --key-file, --key-command or {KEY_VARIABLE}.",
        )
    return beside.with_name(beside.name + ".key")


def _printed(command: str) -> str:
    try:
        printed = subprocess.run(
            shlex.split(command), capture_output=True, timeout=COMMAND_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise LeadlineError(
            f"The command of --key-command failed ({type(error).__name__}).",
            remedy="Run it by hand and see that it prints the key and ends with 0.",
        ) from None
    return printed.stdout.decode("ascii", "replace")


def _key_in(text: str) -> bytes | None:
    """The key that a text is; None if it is none."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == KEY_BYTES else None


def _decoded(text: str, place: str | Path) -> bytes:
    key = _key_in(text)
    if key is None:
        raise LeadlineError(
            "This is no key of a store.",
            file=place,
            remedy="Give 32 random bytes in base64, as leadline monitor init makes them.",
        )
    return key
