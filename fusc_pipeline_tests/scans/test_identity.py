import hashlib
import os
import pickle
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.scans.identity import (
    KEY_VARIABLE,
    KeyRing,
    create_key,
    load_key,
    normalise_subject,
    require_no_scans,
)

KEY = b"0123456789abcdef0123456789abcdef"


def test_a_key_is_made_private_and_read_back(tmp_path):
    path = tmp_path / "private" / "hmac.key"
    made = create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(made.key) >= 32
    assert load_key(path, {}) == made
    assert os.listdir(path.parent) == ["hmac.key"]


def test_a_key_is_never_replaced(tmp_path):
    path = tmp_path / "hmac.key"
    before = create_key(path)
    with pytest.raises(BadSetting, match="exists already"):
        create_key(path)
    assert load_key(path, {}) == before
    assert os.listdir(tmp_path) == ["hmac.key"]


def test_two_keys_differ(tmp_path):
    first, second = create_key(tmp_path / "a"), create_key(tmp_path / "b")
    assert first.key_id != second.key_id
    assert first.keyed("subject", "7") != second.keyed("subject", "7")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_an_open_key_file_is_refused(tmp_path, mode):
    path = tmp_path / "hmac.key"
    create_key(path)
    path.chmod(mode)
    with pytest.raises(BadSetting, match="chmod 600"):
        load_key(path, {})


def test_a_missing_key_says_what_to_do(tmp_path):
    for path in (None, tmp_path / "nowhere" / "hmac.key"):
        with pytest.raises(BadSetting, match=f"fusc init.*{KEY_VARIABLE}"):
            load_key(path, {})


@pytest.mark.parametrize("content", [b"", b"short", b"a" * 64, b"ab" * 40])
def test_weak_keys_are_refused(tmp_path, content):
    path = tmp_path / "hmac.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BadSetting):
        load_key(path, {})
    with pytest.raises(BadSetting):
        load_key(None, {KEY_VARIABLE: content.decode()})


def test_a_key_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(BadSetting):
            load_key(path, {})


def test_the_environment_comes_first(tmp_path):
    path = tmp_path / "hmac.key"
    create_key(path)
    assert load_key(path, {KEY_VARIABLE: KEY.decode()}).key == KEY
    assert load_key(path, {KEY_VARIABLE: "  "}).key != KEY


def test_the_key_is_never_shown():
    ring = KeyRing(KEY)
    assert KEY.decode() not in repr(ring)
    assert ring.key_id not in KEY.decode()
    assert pickle.loads(pickle.dumps(ring)) == ring  # noqa: S301


def test_keyed_values():
    ring = KeyRing(KEY)
    value = ring.keyed("subject", "7741")
    assert len(value) == 32
    assert int(value, 16)
    assert value == ring.keyed("subject", "7741")
    assert len({ring.keyed(kind, "7741") for kind in ("subject", "study", "file")}) == 3
    assert value != hashlib.sha256(b"7741").hexdigest()[:32]
    with pytest.raises(ValueError, match="kind"):
        ring.keyed("name", "7741")


@given(st.text(), st.text())
def test_different_values_get_different_keys(first, second):
    def keyed(text):
        return KeyRing(KEY).keyed("study", text.encode("utf-8", "surrogatepass"))

    assert (keyed(first) == keyed(second)) == (first == second)


@pytest.mark.parametrize(
    "spellings",
    [
        ("Patient01653", "patient_01653", "PATIENT 01653", "01653", " 01653 "),
        ("subject-0007", "Subject 0007", "0007", "case_0007"),
        ("AB-12/34", "ab1234"),
    ],
)
def test_one_subject_many_spellings(spellings):
    assert len({normalise_subject(spelling) for spelling in spellings}) == 1


def test_different_subjects_stay_apart():
    assert len({normalise_subject(s) for s in ("7", "07", "17", "A7", "patientA7")}) == 5


@pytest.mark.parametrize(
    "value", ["", "  ", "ANONYMOUS", "Anonymized", "unknown", "N/A", "0000", "XXXX", "de-identified", "^^"]
)
def test_placeholders_are_nobody(value):
    assert normalise_subject(value) is None


@pytest.mark.parametrize("lost", ["gone", "short", "guessed", "folder"])
def test_where_scans_stand_a_lost_key_is_to_be_put_back_and_not_to_be_made(tmp_path, lost):
    path = tmp_path / "private" / "hmac.key"
    path.parent.mkdir()
    if lost in ("short", "guessed"):
        path.write_bytes(b"x" * (1 if lost == "short" else 40))
        path.chmod(0o600)
    if lost == "folder":
        path.mkdir()
    with pytest.raises(BadSetting, match="run `fusc init`"):
        load_key(path, {})
    require_no_scans(path)
    (tmp_path / "assets" / "scans" / "b" / "0123456789abcdef").mkdir(parents=True)
    with pytest.raises(BadSetting, match="put the old key back from your copy") as refused:
        load_key(path, {})
    assert "fusc init" not in str(refused.value)
    with pytest.raises(BadSetting, match="put the old key back from your copy"):
        require_no_scans(path)


def test_a_wrong_key_of_the_environment_names_the_variable():
    for key in ("short", "ab" * 20):
        with pytest.raises(BadSetting, match=f"^the key in {KEY_VARIABLE} "):
            load_key(None, {KEY_VARIABLE: key})
