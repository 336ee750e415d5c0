"""Batches in any order, twice, grown, half-copied, broken: the final tables are those of one delivery in order, and no
picture was read or cleaned twice."""

import dagster as dg
import pytest

from fusc_pipeline_tests.integration.simulator import Hospital, Play, cheap, plans


def one_delivery(tmp_path, todo) -> dict:
    """The data versions when everything lies in the inbox from the first look on."""
    with dg.instance_for_test() as instance:
        hospital = Hospital(tmp_path / "at once", instance)
        for plan in todo:
            (hospital.inbox / plan.key).mkdir()
            for name, content in plan.files.items():
                (hospital.inbox / plan.key / name).write_bytes(content)
        hospital.work_off()
        hospital.corpus()
        return hospital.versions()


def simulate(tmp_path, monkeypatch, batches: int, seed: int) -> None:
    monkeypatch.setenv("FUSC_HMAC_KEY", "0123456789abcdef" * 4)
    todo = plans(seed, batches)
    plays = []
    with cheap(
        monkeypatch, tmp_path / "house.yaml", lambda path: [play.before_reading(path) for play in plays]
    ) as counted:
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
            hospital = Hospital(tmp_path / "as it came", instance)
            plays.append(Play(hospital, todo, seed))
            plays[0].run()
            hospital.corpus()
            versions = hospital.versions()
            assert sum(plan.kind != "empty" for plan in todo) == len(hospital.store.partitions("scans"))
        assert set(counted.read.values()) == {1} and set(counted.cleaned.values()) == {1}
        assert not plays[0].vanish
        plays.clear()
        counted.read.clear()
        assert versions == one_delivery(tmp_path, todo)


def test_every_kind_of_delivery(tmp_path, monkeypatch):
    simulate(tmp_path, monkeypatch, 12, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0])
def test_two_hundred_batches(tmp_path, monkeypatch, seed):
    simulate(tmp_path, monkeypatch, 200, seed)
