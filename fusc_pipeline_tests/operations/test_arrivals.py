"""What lies in the inbox: when a folder is ready, what is a new delivery and what only looks like one."""

import os
import shutil

import pytest

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.cli.main import main
from fusc_pipeline.operations.arrivals import MARKER, ArrivalRules, Standing, look, standing
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.scans.identity import KeyRing, create_key

KEYS = KeyRing(b"0123456789abcdef" * 2)


class Ward:
    """An inbox that is looked at again and again; `made` says what stands of each batch."""

    def __init__(self, root):
        self.inbox, self.memory, self.made = Inbox(root), {}, {}
        self.rules = ArrivalRules()
        self.inbox.drop.mkdir(parents=True)

    def put(self, name, *files, content=b"x", ready=False):
        folder = self.inbox.drop / name
        folder.mkdir(exist_ok=True)
        for file in files:
            (folder / file).write_bytes(content)
        if ready:
            (folder / MARKER).touch()
        return folder

    def look(self):
        seen = look(self.inbox, KEYS, lambda key: self.made.get(key, Standing()), self.memory, self.rules)
        self.memory = seen.memory
        return seen

    def states(self):
        return {arrival.folder.name: arrival.state for arrival in self.look().arrivals}

    def make(self, key):
        """As if the run for what `key` holds had succeeded."""
        (found,) = [arrival for arrival in self.look().arrivals if arrival.key == key]
        assert found.state == "ready"
        self.inbox.register(key, found.folder)
        self.made[key] = Standing(found.content, True, True)


@pytest.fixture
def ward(tmp_path):
    return Ward(tmp_path)


def test_a_marker_makes_a_folder_ready_at_once_and_rest_does_later(ward):
    ward.put("marked", "a.png", ready=True)
    ward.put("copied", "a.png")
    assert ward.states() == {"marked": "ready", "copied": "waiting"}
    ward.put("copied", "b.png")
    assert ward.states()["copied"] == "waiting"
    assert ward.states()["copied"] == "ready"


def test_looks_are_counted_as_often_as_told(ward):
    ward.rules = ArrivalRules(stable_looks=4)
    ward.put("b", "a.png")
    assert [ward.states()["b"] for _ in range(4)] == ["waiting"] * 3 + ["ready"]


def test_hidden_temporary_and_loose_things_are_no_deliveries(ward):
    for name in (".hidden", "_markers", "b1.part", "B2.TMP", "b3.filepart", "~b4"):
        ward.put(name, "a.png", ready=True)
    (ward.inbox.drop / "loose.png").write_bytes(b"x")
    seen = ward.look()
    assert seen.arrivals == () and "files lie loose in the inbox (1)" in seen.told


def test_names_that_are_no_key_and_links_are_refused_without_their_names(ward, tmp_path):
    ward.put("Mary Quite", "a.png", ready=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (ward.inbox.drop / "link").symlink_to(outside)
    ward.inbox.register("taken", ward.put("other", "a.png", ready=True))
    ward.put("taken", "a.png", ready=True)
    seen = ward.look()
    assert ward.states() == {"Mary Quite": "refused", "link": "refused", "taken": "refused", "other": "ready"}
    for arrival in seen.of_state("refused"):
        assert arrival.key == "" and "fusc arrivals" in arrival.why
        assert not any(word in arrival.why for word in ("Mary", "outside", "taken"))


def test_touched_and_copied_again_is_unchanged_and_grown_is_ready(ward):
    folder = ward.put("b", "a.png", ready=True)
    ward.make("b")
    assert ward.states() == {"b": "unchanged"}
    for moment in (0, 2**33):  # the past and the far future
        os.utime(folder / "a.png", (moment, moment))
        assert "ready" not in (ward.states()["b"], ward.states()["b"])
    shutil.rmtree(folder)
    ward.put("b", "a.png")
    assert ward.states()["b"] == "waiting"
    assert ward.states()["b"] == "unchanged"
    ward.put("b", "new.png", ready=True)
    assert ward.states()["b"] == "ready"


def test_a_marker_counts_for_one_delivery(ward):
    ward.put("b", "a.png", ready=True)
    ward.make("b")
    ward.look()
    ward.put("b", "half.png")
    assert (ward.states()["b"], ward.states()["b"]) == ("waiting", "ready")


def test_same_size_and_time_but_other_bytes_is_noticed(ward):
    folder = ward.put("b", "a.png", ready=True)
    ward.make("b")
    facts = (folder / "a.png").stat()
    (folder / "a.png").write_bytes(b"y")
    os.utime(folder / "a.png", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    ward.look()
    assert ward.states()["b"] == "ready"


def test_two_folders_with_one_content_have_one_content(ward):
    ward.put("b1", "a.png", ready=True)
    ward.put("b2", "a.png", ready=True)
    first, second = ward.look().arrivals
    assert first.content == second.content and len(first.content) == 32


def test_an_empty_folder_waits_and_one_that_was_emptied_keeps_what_was_made(ward):
    ward.put("empty", ready=True)
    assert ward.states() == {"empty": "waiting"}
    ward.put("empty", "a.png")
    ward.make("empty")
    (ward.inbox.drop / "empty" / "a.png").unlink()
    ward.look()
    seen = ward.look()
    assert seen.arrivals[0].state == "unchanged" and "stands" in seen.arrivals[0].why


def test_an_inbox_that_is_not_mounted_deletes_nothing(ward):
    ward.put("b", "a.png", ready=True)
    ward.make("b")
    os.rename(ward.inbox.drop, ward.inbox.root / "away")
    seen = ward.look()
    assert "is it mounted?" in seen.told
    assert [(a.key, a.state) for a in seen.arrivals] == [("b", "unchanged")]
    ward.inbox.drop.mkdir()  # an empty mount point
    seen = ward.look()
    assert "empty" in seen.told and [a.state for a in seen.arrivals] == ["unchanged"]
    ward.inbox.drop.rmdir()
    os.rename(ward.inbox.root / "away", ward.inbox.drop)
    ward.look()
    assert ward.states() == {"b": "unchanged"}


def test_batches_from_elsewhere_wait_for_a_hand_at_first_and_are_noticed_when_they_grow(ward, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"x")
    ward.inbox.register("far", folder)
    (found,) = ward.look().arrivals
    assert found.state == "waiting" and "fusc run --batch far" in found.why
    content = KEYS.keyed("listing", ward.inbox.content("far")[1])
    ward.made["far"] = Standing(content, True, True)
    assert (ward.states(), ward.states()) == ({"export": "waiting"}, {"export": "unchanged"})
    (folder / "b.png").write_bytes(b"x")
    assert (ward.states(), ward.states()) == ({"export": "waiting"}, {"export": "ready"})


def test_what_was_made_in_part_is_ready_and_deleted_frames_are_not(ward):
    ward.put("b", "a.png", ready=True)
    ward.make("b")
    content = ward.made["b"].delivery
    ward.made["b"] = Standing(content, True, whole=False)
    assert ward.states() == {"b": "ready"}
    ward.made["b"] = Standing("", True, True)  # `scans` was deleted to save space
    assert ward.states() == {"b": "unchanged"}
    ward.put("b", "new.png", ready=True)
    ward.look()
    assert ward.states() == {"b": "ready"}


def test_a_batch_of_which_a_file_was_lost_does_not_stand_whole(small_store):
    before = standing(small_store, "b1")
    assert before.made
    (small_store.folder("clean_images", "b1") / "images.parquet").unlink()
    after = standing(small_store, "b1")
    assert after.made and not after.whole and after.delivery == before.delivery


def test_only_what_changed_is_hashed_again(ward, monkeypatch):
    import fusc_pipeline.scans.folder_content as contents

    hashed, sha = [], contents.sha256_file
    monkeypatch.setattr(contents, "sha256_file", lambda path: hashed.append(path.name) or sha(path))
    folder = ward.put("b", "a.png", "b.png", ready=True)
    ward.look()
    ward.look()
    assert sorted(hashed) == ["a.png", "b.png"]
    hashed.clear()
    (folder / "c.png").write_bytes(b"x")
    ward.look()
    ward.look()
    assert hashed == ["c.png"]


def test_rules_of_the_environment():
    assert ArrivalRules.from_environment({}) == ArrivalRules()
    assert ArrivalRules.from_environment({"FUSC_ARRIVALS_PER_TICK": "9"}).per_tick == 9
    with pytest.raises(BadSetting, match="FUSC_STABLE_LOOKS"):
        ArrivalRules.from_environment({"FUSC_STABLE_LOOKS": "0"})


def test_the_command_names_folders_and_counts_looks_when_asked(ward, monkeypatch, capsys):
    create_key(ward.inbox.private / "hmac.key")
    monkeypatch.setenv("FUSC_DATA", str(ward.inbox.root))
    ward.put("Mary Quite", "a.png")
    ward.put("b", "a.png")

    def told(*options):
        assert main(["arrivals", *options]) == 0
        return capsys.readouterr().out

    assert "Mary Quite: refused: " in told()
    assert "b: waiting" in told() and "b: waiting" in told("--look")
    assert "b: ready: new" in told()
    assert (ward.inbox.private / "arrivals.json").stat().st_mode & 0o777 == 0o600
