"""Batches in any order, twice, grown, half-copied, broken: the final tables are those of one delivery in order, and no
picture was read or cleaned twice."""

import dagster as dg
import pytest

from fusc_pipeline_tests.integration.simulator import KINDS, Hospital, Play, cheap, plans


def one_delivery(root, todo) -> dict:
    """The data versions when each batch is whole from the start, and they come in order."""
    with dg.DagsterInstance.ephemeral() as instance:
        hospital = Hospital(root, instance, checks=False)
        for plan in todo:
            (hospital.inbox / plan.key).mkdir()
            for name, content in plan.files.items():
                (hospital.inbox / plan.key / name).write_bytes(content)
        hospital.run_in_order()
        hospital.corpus()
        return hospital.versions()


def simulate(tmp_path, monkeypatch, batches: int, seed: int, checks: bool) -> None:
    monkeypatch.setenv("FUSC_HMAC_KEY", "0123456789abcdef" * 4)
    todo = plans(seed, batches)
    playing = []

    def before_reading(path):
        for play in playing:
            play.before_reading(path)

    with cheap(monkeypatch, tmp_path / "house.yaml", before_reading) as counted:
        with dg.instance_for_test() as instance:
            hospital = Hospital(tmp_path / "as it came", instance, checks)
            playing.append(Play(hospital, todo, seed))
            playing[0].run()
            assert not playing.pop().vanish
            hospital.corpus()
            versions = hospital.versions()
            assert sum(plan.kind != "empty" for plan in todo) == len(hospital.store.partitions("scans"))
        assert set(counted.read.values()) == {1} and set(counted.cleaned.values()) == {1}
        assert versions == one_delivery(tmp_path / "at once", todo)


def test_every_kind_of_delivery(tmp_path, monkeypatch):
    simulate(tmp_path, monkeypatch, len(KINDS), seed=4, checks=False)


@pytest.mark.slow
def test_two_hundred_batches(tmp_path, monkeypatch):
    simulate(tmp_path, monkeypatch, 200, seed=0, checks=False)
