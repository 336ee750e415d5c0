"""Keyed identities: patients, studies and files become HMAC-SHA256 under a secret key. The key's file lives here too.

A plain hash of a patient id is found again by trying all ids; a keyed one is not. Nothing here reads a scan.
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fusc_pipeline.base.errors import BadSetting

KEY_VARIABLE = "FUSC_HMAC_KEY"
MIN_KEY_BYTES = 32
KINDS = ("subject", "study", "file", "listing")

_DOMAIN = b"fusc-pipeline/1/"
_KEYED_BYTES = 16
_HOW_TO_GET_A_KEY = f"run `fusc init` to make a key file, or set {KEY_VARIABLE} to at least {MIN_KEY_BYTES} characters"
_PUT_IT_BACK = (
    "scans stand that were read with the old key, and another would make two patients of each; put the old key back "
    f"from your copy (mode 600, or in {KEY_VARIABLE})"
)

# What de-identification tools write instead of a patient id: not an identity, or all patients would become one.
_PLACEHOLDERS = re.compile(
    r"anon(?:ym(?:ous|i[sz]ed?))?|unknown|none|na|n[ui]ll?|removed|redacted|deidentified|deleted|default|test|noid"
    r"|noname|patient(?:id)?"
)
_SUBJECT_WORD = re.compile(r"(?:patient|subject|case|pat|sub)(?=\d+$)")

DEFAULT_SUBJECT_PATTERN = r"(?i)(?<![a-z])(?:patient|subject|case|pat|sub)[-_ ]?\d+"


@dataclass(frozen=True)
class KeyRing:
    """The secret key and what is derived from it. Its repr never shows the key."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if why := _weakness(self.key):
            raise BadSetting(f"the key {why}: {_HOW_TO_GET_A_KEY}")

    def keyed(self, kind: str, value: str | bytes) -> str:
        """32 hex characters: HMAC-SHA256 of `value`, cut to 16 bytes. Equal values of different kinds differ."""
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}: one of {', '.join(KINDS)}")
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return self._mac(kind.encode() + b"\0" + raw)[:_KEYED_BYTES].hex()

    @property
    def key_id(self) -> str:
        """8 hex characters that tell two keys apart and say nothing about either."""
        return self._mac(b"key-id")[:4].hex()

    def _mac(self, message: bytes) -> bytes:
        return hmac.new(self.key, _DOMAIN + message, hashlib.sha256).digest()


def _weakness(key: bytes) -> str | None:
    if len(key) < MIN_KEY_BYTES:
        return f"has {len(key)} bytes, fewer than {MIN_KEY_BYTES}"
    return "repeats a few characters and could be guessed" if len(set(key)) < 8 else None


def load_key(path: Path | None = None, environ: Mapping[str, str] | None = None) -> KeyRing:
    """The key from FUSC_HMAC_KEY, else from the file. Raises BadSetting when there is none, or it is not secret."""
    how = _PUT_IT_BACK if path is not None and scans_stand(path) else _HOW_TO_GET_A_KEY
    from_environment = (os.environ if environ is None else environ).get(KEY_VARIABLE, "").strip()
    if from_environment:
        if why := _weakness(from_environment.encode()):
            raise BadSetting(f"the key in {KEY_VARIABLE} {why}: {how}")
        return KeyRing(from_environment.encode())
    if path is None:
        raise BadSetting(f"no key for patient ids: {_HOW_TO_GET_A_KEY}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadSetting(f"no key file at {path}: {how}") from None
    except OSError as error:
        raise BadSetting(f"key file {path} cannot be opened ({error.strerror}): check its owner and folder") from None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise BadSetting(f"key file {path} is not a regular file: {how}")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            raise BadSetting(f"key file {path} is open to other users: run `chmod 600` on it")
        key = os.read(descriptor, 4096).strip()
    finally:
        os.close(descriptor)
    if why := _weakness(key):
        raise BadSetting(f"the key in the file {path} {why}: {how}")
    return KeyRing(key)


def scans_stand(key_file: Path) -> bool:
    """Whether the data root that a key file belongs to holds scans: their patients are known by the key they were read
    with, and by no other."""
    return any((key_file.parent.parent / "assets" / "scans").glob("*/[!.]*"))


def require_no_scans(key_file: Path) -> None:
    """Raise BadSetting where scans stand that were read with a key that is gone: what is to be asked before one is made
    in its place."""
    if scans_stand(key_file):
        raise BadSetting(f"no key file at {key_file}: {_PUT_IT_BACK}; or start anew: fusc init --new-key")


def create_key(path: Path) -> KeyRing:
    """Write a new random key (32 bytes as hex, mode 0600), and its folder (0700) where missing.

    An existing file is never replaced: the identities made with it could not be made again. Raises BadSetting then.
    The file appears whole or not at all.
    """
    path = Path(path)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadSetting(f"folder of key file {path} cannot be made ({error.strerror}): choose another place") from None
    key = secrets.token_hex(MIN_KEY_BYTES).encode()
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(key + b"\n")
            stream.flush()
            os.fsync(descriptor)
        # A hard link fails when the name is taken, where a rename would silently replace another key.
        os.link(temporary, path)
    except FileExistsError:
        raise BadSetting(f"key file {path} exists already: keep it, or move it away to start with new ids") from None
    except OSError as error:
        raise BadSetting(f"key file {path} cannot be written ({error.strerror}): choose another place") from None
    finally:
        temporary.unlink(missing_ok=True)
    return KeyRing(key)


def normalise_subject(value: str) -> str | None:
    """One spelling of a patient id: "Patient 01653", "patient_01653" and "01653" agree. None for a placeholder.

    Case and everything but letters and digits are dropped, then a leading word such as "patient" before a number.
    Leading zeros stay: they can be part of a hospital's number.
    """
    plain = "".join(char for char in value.casefold() if char.isalnum())
    # One character over and over ("0000", "XXX") is what blanking leaves behind, but 7 may be a patient's number.
    blanked = len(set(plain)) < 2 and plain not in set("123456789")
    return None if blanked or _PLACEHOLDERS.fullmatch(plain) else _SUBJECT_WORD.sub("", plain)
