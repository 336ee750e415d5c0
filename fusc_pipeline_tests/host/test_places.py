"""Folders that the environment names: how they are read, and that a wrong one is told before anything is made."""

import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.cli.main import main
from fusc_pipeline.host.device_lease import lock_folder
from fusc_pipeline.host.places import check_data_root, data_root, named_folder, why_unusable

ROOT = Path(__file__).resolve().parents[2]
VERBS = [
    ["init"],
    ["add-batch", "in", "--key", "b"],
    ["run", "--batch", "b"],
    ["status"],
    ["arrivals"],
    ["gc"],
    ["gc", "--delete"],
    ["reconcile"],
    ["ui", "--port", "0"],
    ["ui", "--port", "0", "--read-only"],
    ["files", "b"],
    ["models"],
    ["promote", "1"],
    ["rollback"],
    ["audit-labels"],
]
OF_THE_HISTORY = [verb for verb in VERBS if verb[0] in ("init", "add-batch", "run", "reconcile", "ui")]
named = pytest.mark.parametrize("verb", VERBS, ids=" ".join)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A working folder with a delivery, a file, and no data root."""
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.png").write_bytes(b"x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "home").mkdir()
    for name in ("DAGSTER_HOME", "FUSC_DATA", "FUSC_HMAC_KEY", "FUSC_PRESET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(project: Path, capsys, *verb: str) -> str:
    """What a verb says that refuses and leaves nothing behind."""
    before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    assert main(list(verb)) == 1
    assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before
    said = capsys.readouterr().err
    assert said.startswith("fusc: ") and said.count("\n") == 1
    return said


def unwritable(monkeypatch, *folders: Path) -> None:
    """As for a user without rights; root has them all."""
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) not in folders and real(path, mode))


@named
@pytest.mark.parametrize("given", ["file", "file/below/it", "~nobody-of-this-name/x", "s3://bucket/x"])
def test_every_verb_refuses_a_data_root_that_is_none(project, monkeypatch, capsys, verb, given):
    given = str(project / given) if given.startswith("file") else given
    monkeypatch.setenv("FUSC_DATA", given)
    assert f"FUSC_DATA={given}: " in refused(project, capsys, *verb)


@pytest.mark.parametrize("verb", [v for v in VERBS if v[0] in ("init", "add-batch")], ids=" ".join)
def test_a_root_is_not_begun_where_this_user_may_not_write(project, monkeypatch, capsys, verb):
    unwritable(monkeypatch, project)
    for given in ("", str(project / "new" / "data")):
        monkeypatch.setenv("FUSC_DATA", given)
        said = refused(project, capsys, *verb)
        assert "FUSC_DATA" in said and f"this user may not write in {project}" in said


@pytest.mark.parametrize("verb", [v for v in VERBS if v[0] not in ("init", "add-batch")], ids=" ".join)
def test_a_root_that_is_named_and_missing_is_not_taken_for_an_empty_one(project, monkeypatch, capsys, verb):
    monkeypatch.setenv("FUSC_DATA", str(project / "typo"))
    assert "there is no such folder; correct the variable, or make the data root: fusc init" in refused(
        project, capsys, *verb
    )


@pytest.mark.parametrize("part", ["", "private", "assets"])
def test_a_root_of_another_user_can_be_read_and_not_written(project, monkeypatch, part):
    (project / "data" / part).mkdir(parents=True)
    unwritable(monkeypatch, project / "data" / part)
    check_data_root(write=False)
    with pytest.raises(BadSetting, match=r"FUSC_DATA is not set\): this user may not write in .*; set FUSC_DATA to"):
        check_data_root(write=True)


def test_a_file_system_that_is_mounted_read_only_is_told_as_such(tmp_path, monkeypatch):
    facts = os.statvfs(tmp_path)
    unwritable(monkeypatch, tmp_path)
    seen = type("Facts", (), {"f_flag": facts.f_flag | os.ST_RDONLY})
    monkeypatch.setattr(os, "statvfs", lambda _path: seen)
    assert why_unusable(tmp_path / "data", write=True) == f"{tmp_path} is on a file system that is mounted read-only"


def test_a_link_to_nothing_is_no_folder_to_be_made(tmp_path):
    (tmp_path / "mount").symlink_to(tmp_path / "gone")
    assert why_unusable(tmp_path / "mount", write=True) == "it is a link to nothing"
    assert why_unusable(tmp_path / "mount" / "data", write=False) == f"{tmp_path / 'mount'} is a link to nothing"


def test_a_tilde_stands_for_the_home_folder(project, monkeypatch, capsys):
    monkeypatch.setenv("FUSC_DATA", "~/fusc")
    assert main(["init"]) == 0
    assert (project / "home" / "fusc" / "private" / "hmac.key").is_file() and not (project / "~").exists()
    assert data_root() == str(project / "home" / "fusc") == data_root("~/fusc")
    monkeypatch.setenv("DAGSTER_HOME", "~")
    assert main(["init"]) == 0
    assert (project / "home" / ".opened").is_file() and not (project / "~").exists()
    assert main(["add-batch", "~/../in", "--key", "b"]) == 0


@hypothesis.given(
    st.text(st.characters(exclude_characters="~/\0:", exclude_categories=["Cs"]), min_size=1, max_size=30)
)
def test_a_tilde_within_a_path_is_a_letter(name):
    assert named_folder("X", f"/a/{name}~/~{name}") == Path(f"/a/{name}~/~{name}")


@pytest.mark.parametrize("verb", OF_THE_HISTORY, ids=" ".join)
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("nowhere", "there is no such folder; correct it"),
        ("file", "it is a file, not a folder"),
        ("file/below", "is a file, not a folder"),
        ("closed", "this user may not write in "),
    ],
)
def test_every_verb_with_a_history_refuses_a_home_that_is_none(project, monkeypatch, capsys, verb, given, why):
    (project / "closed").mkdir()
    unwritable(monkeypatch, project / "closed")
    monkeypatch.setenv("DAGSTER_HOME", str(project / given))
    said = refused(project, capsys, *verb)
    assert f"DAGSTER_HOME={project / given}: " in said and why in said


def test_a_relative_home_is_refused_with_the_whole_path(project, monkeypatch, capsys):
    monkeypatch.setenv("DAGSTER_HOME", "home")
    assert f"it is no absolute path; set it to {project / 'home'}\n" in refused(project, capsys, "init")


def test_a_folder_without_settings_gets_no_data_root(project, capsys):
    (project / "dagster.yaml").unlink()
    assert "DAGSTER_HOME is not set" in refused(project, capsys, "init")


@pytest.mark.parametrize("given", ["file", "file/below"])
def test_device_locks_in_a_wrong_place_are_told_before_a_run(project, monkeypatch, capsys, given):
    assert main(["init"]) == main(["add-batch", "in", "--key", "b"]) == 0
    capsys.readouterr()
    monkeypatch.setenv("FUSC_LOCKS", str(project / given))
    assert f"FUSC_LOCKS={project / given}: " in refused(project, capsys, "run", "--batch", "b")
    monkeypatch.setenv("FUSC_LOCKS", "~/locks")
    assert lock_folder() == project / "home" / "locks"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            PermissionError(13, "Permission denied", "data/private/x"),
            "(in the data root, FUSC_DATA): Permission denied",
        ),
        (NotADirectoryError(20, "Not a directory", "elsewhere/a\nb"), "'elsewhere/a\\nb': Not a directory"),
        (FileExistsError(17, "File exists", "/x"), "'/x': File exists"),
    ],
)
def test_what_the_file_system_refuses_is_a_sentence(project, monkeypatch, capsys, error, told):
    def fail(_arguments):
        raise error

    monkeypatch.setattr("fusc_pipeline.cli.main._presets", fail)
    assert main(["presets"]) == 1
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
