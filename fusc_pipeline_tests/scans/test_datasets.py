import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.scans.batch import Rejection, Report, ScanRow, iter_batch
from fusc_pipeline.scans.datasets import FETAL_PLANES_LABELS, LAYOUTS, read_data_set, view_folders
from fusc_pipeline.scans.files import BatchFile, OwnFacts, list_files
from fusc_pipeline.scans.frames import REASONS
from fusc_pipeline.scans.identity import KeyRing
from fusc_pipeline_tests.scans.make import sector

KEYS = KeyRing(b"0123456789abcdef0123456789abcdef")
REAL = Path(__file__).resolve().parents[3] / "shared" / "scans" / "fetal_planes_db"
TABLE = "FETAL_PLANES_DB_data.csv"
# As it is distributed: a space after the last column's name and values.
HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "


def write(folder, lines, images=(), header=HEADER, end="\n"):
    (folder / "Images").mkdir(parents=True, exist_ok=True)
    (folder / TABLE).write_bytes(end.join([header, *lines, ""]).encode("utf-8", "surrogateescape"))
    for number, name in enumerate(images):
        picture = sector(160, 200, r0=20, r1=140, seed=number)[0]
        Image.fromarray(picture).save(folder / "Images" / f"{name}.png")
    return folder


def row(image="Patient00007_Plane3_1_of_2", patient="7", plane="Fetal brain", brain="Trans-thalamic", train="1 "):
    return f"{image};{patient};{plane};{brain};Op. 1 CANARY;Voluson E6;{train}"


def data_set_of(folder, layout="auto"):
    return read_data_set(list_files(folder), layout)


def read(folder, layout="auto", **options):
    report = Report()
    outcomes = list(iter_batch(folder, KEYS, data_set=data_set_of(folder, layout), report=report, **options))
    rows = {report.names[o.row["file_key"]]: o.row for o in outcomes}
    return rows, outcomes, report


def test_facts_of_a_row(tmp_path):
    lines = [
        row(),
        row("Patient00007_Plane3_2_of_2", brain="Other", train="0 "),
        "Patient00008_Plane2_1_of_1;8;Fetal abdomen;Not A Brain;Other;Aloka;1 ",
        "Patient00009_Plane4_1_of_1;9;Maternal cervix;Not A Brain;Op. 2;Voluson S10;0 ",
        "Patient00009_Plane1_1_of_1;9;Other;Not A Brain;Op. 2;Other;0 ",
    ]
    names = [line.split(";")[0] for line in lines]
    data_set = data_set_of(write(tmp_path, lines, names))
    assert (data_set.layout, data_set.bad_rows) == ("fetal_planes_db", [])
    assert [data_set.facts_of(f"Images/{name}.png") for name in names] == [
        OwnFacts("Fetal brain, trans-thalamic", "train", "00007", "ge voluson e6"),
        OwnFacts("Fetal brain", "test", "00007", "ge voluson e6"),
        OwnFacts("Fetal abdomen", "train", "00008", "hitachi"),
        OwnFacts("Maternal cervix", "test", "00009", "ge voluson s10"),
        OwnFacts("Other", "test", "00009", "other"),
    ]
    assert {data_set.facts_of(f"Images/{name}.png").label for name in names} <= set(FETAL_PLANES_LABELS)
    assert len(FETAL_PLANES_LABELS) == 9
    assert "CANARY" not in repr(vars(data_set))


def test_what_is_missing_extra_or_wrong_is_named_and_counted(tmp_path):
    wrong = {
        "cells": "Patient00020_Plane1_1_of_1;20;Other;Not A Brain;Op. 1;Voluson E6",
        "plane": row("Patient00021_Plane1_1_of_1", "21", "Fetal CANARY", "Not A Brain"),
        "brain": row("Patient00022_Plane1_1_of_1", "22", "Other", "Trans-thalamic"),
        "no brain": row("Patient00022_Plane3_1_of_1", "22", brain="Not A Brain"),
        "patient": row("Patient00023_Plane3_1_of_1", "24"),
        "no patient": row("Patient00025_Plane3_1_of_1", "0"),
        "not a number": row("Patient00026_Plane3_1_of_1", "CANARY"),
        "train": row("Patient00027_Plane3_1_of_1", "27", train="yes"),
        "escape": row("../../../etc/passwd", "28"),
        "absolute": row("/etc/passwd", "28"),
        "bytes": row("Patient00029_Plane3_\udcff", "29"),
        "empty": ";;;;;;",
    }
    twice, against = row("Patient00030_Plane3_1_of_1", "30"), "Patient00031_Plane1_1_of_1"
    lines = [
        row(),
        row("Patient00010_Plane3_1_of_1", "10"),  # its image is missing
        *wrong.values(),
        twice,
        twice,
        row(against, "31", "Other", "Not A Brain"),
        row(against, "31", "Fetal femur", "Not A Brain"),
    ]
    images = ["Patient00007_Plane3_1_of_2", "Patient00030_Plane3_1_of_1", against, "Patient00099_Plane1_1_of_1", "else"]
    rows, outcomes, report = read(write(tmp_path, lines, images))
    reasons = {}
    for outcome in outcomes:
        if isinstance(outcome, Rejection):
            assert outcome.row["reason"] in REASONS
            reasons.setdefault(outcome.row["reason"], []).append(report.names[outcome.row["file_key"]])
    assert {reason: len(names) for reason, names in reasons.items()} == {
        "bad_row": len(wrong) + 2,
        "row_without_image": 1,
        "duplicate_row": 1,
    }
    assert reasons["row_without_image"] == [f"{TABLE} line 3: Patient00010_Plane3_1_of_1"]
    assert reasons["duplicate_row"] == [f"{TABLE} line 17: Patient00030_Plane3_1_of_1"]
    taken = {name: r for name, r in rows.items() if "content" in r}
    assert {name: r["own_label"] for name, r in taken.items()} == {
        "Images/Patient00007_Plane3_1_of_2.png": "Fetal brain, trans-thalamic",
        "Images/Patient00030_Plane3_1_of_1.png": "Fetal brain, trans-thalamic",
        f"Images/{against}.png": None,
        "Images/Patient00099_Plane1_1_of_1.png": None,
        "Images/else.png": None,
    }
    # An image without a row still says whose it is; one without either is on its own.
    assert {name[7:19]: r["subject_source"] for name, r in taken.items()} == {
        "Patient00007": "dataset",
        "Patient00030": "dataset",
        "Patient00031": "dataset",
        "Patient00099": "dataset",
        "else.png": "file",
    }
    assert report.delivered == 5
    told = repr([o.row["detail"] for o in outcomes if isinstance(o, Rejection)])
    assert "CANARY" not in told and "passwd" not in told and "Patient0" not in told


def test_a_subject_is_one_also_where_the_images_came_as_a_plain_folder(tmp_path):
    names = ["Patient00007_Plane3_1_of_2", "Patient00007_Plane3_2_of_2"]
    write(tmp_path, [row(name) for name in names], names)
    as_set = [r for r in read(tmp_path)[0].values() if "content" in r]
    as_folder = [r for r in read(tmp_path, "plain")[0].values() if "content" in r]
    assert len({r["subject_key"] for r in as_set + as_folder}) == 1
    assert {r["subject_source"] for r in as_folder} == {"path"}
    assert all(r["own_label"] is None and r["own_split"] is None for r in as_folder)


def test_windows_line_ends_a_mark_and_another_order_of_columns(tmp_path):
    header = "\ufeffTrain ;Image_name;Plane;US_Machine;Brain_plane;Patient_num;Operator"
    line = "1 ;Patient00007_Plane3_1_of_2.png;Fetal brain;Voluson E6;Trans-thalamic;7;Op. 1"
    folder = write(tmp_path, [line, "", "  "], ["Patient00007_Plane3_1_of_2"], header, "\r\n")
    data_set = data_set_of(folder)
    assert data_set.facts_of("Images/Patient00007_Plane3_1_of_2.png").label == "Fetal brain, trans-thalamic"
    assert not data_set.bad_rows


def test_the_table_may_lie_deeper_but_only_once(tmp_path):
    write(tmp_path / "FETAL_PLANES_ZENODO", [row()], ["Patient00007_Plane3_1_of_2"])
    rows, _, _ = read(tmp_path)
    assert [r["own_label"] for r in rows.values()] == ["Fetal brain, trans-thalamic"]
    write(tmp_path / "copy", [row()])
    with pytest.raises(BadInput, match="2 files FETAL_PLANES_DB_data.csv"):
        data_set_of(tmp_path)
    assert data_set_of(tmp_path, "plain").layout == "plain"


@pytest.mark.parametrize(
    "header", ["", "Image_name;Plane;Train ;Patient_num", HEADER.replace(";", "\t"), HEADER + ";Plane"]
)
def test_another_table_of_that_name_is_refused(tmp_path, header):
    write(tmp_path, [row()], header=header)
    with pytest.raises(BadInput, match="--layout plain"):
        data_set_of(tmp_path)


def test_a_layout_that_is_none_or_does_not_fit(tmp_path):
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(BadSetting, match="layout 'planes'"):
        data_set_of(tmp_path, "planes")
    with pytest.raises(BadInput, match="holds 0 files"):
        data_set_of(tmp_path, "fetal_planes_db")
    assert data_set_of(tmp_path, "auto").layout == "plain"
    assert data_set_of(tmp_path, "auto").facts_of("x.png") is None


def test_the_set_as_one_zip(tmp_path):
    folder = write(tmp_path / "FETAL_PLANES_ZENODO", [row(), row("Patient00010_Plane3_1_of_1", "10")], ["else"])
    names = ["Patient00007_Plane3_1_of_2.png", "Patient00007_Plane3_2_of_2.png"]
    for number, name in enumerate(names, start=1):
        Image.fromarray(sector(160, 200, r0=20, r1=140, seed=number)[0]).save(folder / "Images" / name)
    with zipfile.ZipFile(folder / f"{TABLE[:-4]}.xlsx", "w") as sheet:
        sheet.writestr("[Content_Types].xml", "x")
    (tmp_path / "in").mkdir()
    shutil.make_archive(tmp_path / "in" / "FETAL_PLANES_ZENODO", "zip", tmp_path, folder.name)
    rows, _, report = read(tmp_path / "in")
    home = "FETAL_PLANES_ZENODO.zip!/FETAL_PLANES_ZENODO"
    assert {name: r.get("own_label", r.get("reason")) for name, r in rows.items()} == {
        f"{home}/Images/{names[0]}": "Fetal brain, trans-thalamic",
        f"{home}/Images/{names[1]}": None,
        f"{home}/Images/else.png": None,
        f"{home}/FETAL_PLANES_DB_data.xlsx": "nested_archive",
        f"{home}/{TABLE} line 3: Patient00010_Plane3_1_of_1": "row_without_image",
    }
    assert report.delivered == 4


def test_the_table_itself_is_no_delivered_file_but_what_lies_beside_is(tmp_path):
    write(tmp_path, [row()], ["Patient00007_Plane3_1_of_2"])
    (tmp_path / "README.txt").write_text("about")
    rows, _, report = read(tmp_path)
    assert report.delivered == 2
    assert rows["README.txt"]["reason"] == "not_an_image"
    assert TABLE not in rows


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=6))
def test_any_text_for_rows_is_facts_or_a_reason(tmp_path_factory, lines):
    folder = write(tmp_path_factory.mktemp("rows"), lines)
    data_set = data_set_of(folder)
    written = [line for line in "\n".join(lines).split("\n") if line.strip()]
    assert len(data_set.bad_rows) == len(written)
    assert not data_set.images


def test_the_fingerprint_follows_the_table(tmp_path):
    before = data_set_of(write(tmp_path, [row()])).fingerprint
    assert data_set_of(write(tmp_path, [row()])).fingerprint == before
    assert data_set_of(write(tmp_path, [row(train="0")])).fingerprint != before


@pytest.mark.skipif(not REAL.is_dir(), reason="the real frames of shared/scans are absent")
def test_a_piece_of_the_real_set(tmp_path):
    planes = ["Other", "Fetal abdomen", "Fetal brain", "Maternal cervix", "Fetal femur", "Fetal thorax"]
    lines = []
    (tmp_path / "Images").mkdir()
    for number, path in enumerate(sorted(REAL.glob("*.png"))[:12]):
        shutil.copy(path, tmp_path / "Images")
        plane = planes[int(path.stem.split("_Plane")[1][0]) - 1]
        brain = "Trans-thalamic" if plane == "Fetal brain" else "Not A Brain"
        lines.append(row(path.stem, str(int(path.stem[7:12])), plane, brain, f"{number % 2} "))
    rows, outcomes, _ = read(write(tmp_path, lines))
    assert all(isinstance(o, ScanRow) for o in outcomes) and len(outcomes) == 12
    assert all(r["subject_source"] == "dataset" and r["machine"] == "ge voluson e6" for r in rows.values())
    assert {r["own_split"] for r in rows.values()} == {"train", "test"}
    assert all("Patient" not in repr({k: v for k, v in r.items() if k != "png"}) for r in rows.values())
    assert {r["content"] for r in rows.values()} == {"b_mode"}


def files(*names):
    return [BatchFile(Path("/nowhere", name), name) for name in names]


def test_a_folder_per_view():
    delivered = files("train/Femur/1.png", "train/Heart 4CH/2.png", "test/Femur/3.png", "4.png", "new/5.png")
    assert view_folders(delivered[:3]) == ["Femur", "Heart 4CH"]
    data_set = read_data_set(delivered, "folder_per_view", ["Femur", "Heart 4CH"])
    assert [data_set.facts_of(file.relative) for file in delivered] == [
        OwnFacts("Femur", "train"),
        OwnFacts("Heart 4CH", "train"),
        OwnFacts("Femur", "test"),
        OwnFacts(None, None),
        OwnFacts(None, None),
    ]


@pytest.mark.parametrize(
    "name", ["Patient0007", "subject-3", "20240131", "case 9", "Doe^Jane", "x" * 41, "a\nb", "7741"]
)
def test_folders_that_look_like_patients_are_no_views(name):
    with pytest.raises(BadInput, match=r"1 of 2 folders have names that are no view's") as refused:
        view_folders(files("Femur/1.png", f"{name}/1.png"))
    assert name not in str(refused.value)


def test_no_folder_is_no_view():
    with pytest.raises(BadInput, match="no file lies in a folder"):
        view_folders(files("1.png", "train/2.png"))


def test_folder_per_view_is_never_guessed(tmp_path):
    (tmp_path / "Femur").mkdir()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "Femur" / "x.png")
    assert data_set_of(tmp_path).layout == "plain"
    assert LAYOUTS[0] == "auto"


SAVED_AGAIN = {
    "comma": lambda text: text.replace(";", ",").encode(),
    "quoted": lambda text: "\n".join(
        ";".join(f'"{cell}"' for cell in line.split(";")) for line in text.split("\n") if line
    ).encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "numbers with decimals": lambda text: text.replace(";7;", ";7.0;"),
    "endings": lambda text: text.replace("_of_2;", "_of_2.PNG;"),
}


@pytest.mark.parametrize("way", SAVED_AGAIN)
def test_a_table_that_a_spreadsheet_saved_again(tmp_path, way):
    names = ["Patient00007_Plane3_1_of_2", "Patient00007_Plane3_2_of_2"]
    write(tmp_path, [row(names[0]), row(names[1], brain="Other", train="0 ")], names)
    table = SAVED_AGAIN[way]("\n".join([HEADER, row(names[0]), row(names[1], brain="Other", train="0 "), ""]))
    (tmp_path / TABLE).write_bytes(table.encode() if isinstance(table, str) else table)
    rows, _, _ = read(tmp_path)
    assert [rows[f"Images/{name}.png"]["own_label"] for name in names] == ["Fetal brain, trans-thalamic", "Fetal brain"]


@pytest.mark.parametrize(("folder", "ending"), [("images", ".png"), ("Images", ".PNG"), ("IMAGES", ".Png")])
def test_the_case_of_the_folder_and_of_endings_does_not_matter(tmp_path, folder, ending):
    name = "Patient00007_Plane3_1_of_2"
    write(tmp_path, [row(name)], [name])
    (tmp_path / "Images" / f"{name}.png").rename(tmp_path / "moved")
    (tmp_path / "Images").rmdir()
    (tmp_path / folder).mkdir()
    (tmp_path / "moved").rename(tmp_path / folder / f"{name}{ending}")
    rows, outcomes, _ = read(tmp_path)
    assert rows[f"{folder}/{name}{ending}"]["own_label"] == "Fetal brain, trans-thalamic"
    assert len(outcomes) == 1


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("same_label", [False, True])
def test_one_picture_under_two_labels_is_a_contradiction(tmp_path, copies, same_label):
    names = [f"Patient0000{n}_Plane1_1_of_1" for n in range(1, copies + 1)]
    planes = ["Fetal abdomen" if same_label else plane for plane in ("Fetal abdomen", "Fetal femur", "Fetal thorax")]
    lines = [row(n, str(k + 1), planes[k], "Not A Brain") for k, n in enumerate(names)]
    write(tmp_path, lines, names)
    for name in names[1:]:
        shutil.copy(tmp_path / "Images" / f"{names[0]}.png", tmp_path / "Images" / f"{name}.png")
    _, outcomes, report = read(tmp_path)
    reasons = [o.row["reason"] for o in outcomes if isinstance(o, Rejection)]
    assert reasons == ["duplicate" if same_label else "contradiction"] * (copies - 1)
    taken = [o.row["image_id"] for o in outcomes if isinstance(o, ScanRow)]
    assert report.contradicted == (set() if same_label else set(taken))
