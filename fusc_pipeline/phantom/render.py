"""One phantom frame from a configuration and its number: subject, scene, picture, screen. Files are `delivery`'s."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fusc_pipeline.phantom.beam import Sound, picture
from fusc_pipeline.phantom.caliper_marks import draw_calipers
from fusc_pipeline.phantom.canvas import Canvas, Pose
from fusc_pipeline.phantom.config import (
    CERVIX,
    STREAM_CALIPERS,
    STREAM_FRAME,
    STREAM_HARD_WORDS,
    STREAM_SCENE,
    STREAM_SCREEN,
    STREAM_SUBJECT,
    PhantomConfig,
    plan,
)
from fusc_pipeline.phantom.hard_words import HardWord, draw_hard_words
from fusc_pipeline.phantom.label_words import choose_label
from fusc_pipeline.phantom.machine_styles import (
    EXTERNAL_MACHINES,
    EXTERNAL_SHARES,
    MACHINES,
    Fan,
    Machine,
    choose_fan,
    endocavity,
)
from fusc_pipeline.phantom.screen import Measurement, draw_screen
from fusc_pipeline.phantom.shapes import MUSCLE, ellipse
from fusc_pipeline.phantom.study import Study
from fusc_pipeline.phantom.uterus import surroundings, tissue_texture
from fusc_pipeline.phantom.view_drawings import DEFAULT_TURN, MAGNIFICATION, TURN, plane_of

MACHINE_SHARES = (0.3, 0.22, 0.15, 0.18, 0.15)
"""Of the subjects, in the order of MACHINES."""
CANVAS_STEP = 2
"""Screen pixels per canvas pixel."""


@dataclass(frozen=True)
class PhantomFrame:
    """A frame and its truth.

    screen: (H, W, 3) uint8 RGB, as delivered; anatomy: (H, W) uint8, the picture without text, zero outside the fan;
    fan, ink: (H, W) bool, where the picture is and where something is drawn over it. view: the anatomy shown;
    typed_text: lines parted by a line feed, or None; label_view: the view a person reads from it, None without text and
    when two views are typed; label_box: (x0, y0, x1, y1) pixels, or None. index: the frame's number in the set.
    structures: names of what lies in the plane. hard_words, calipers ((H, W) bool, of the ink): see
    `PhantomConfig.p_hard_words` and `p_calipers`.
    """

    screen: np.ndarray
    anatomy: np.ndarray
    fan: np.ndarray
    ink: np.ndarray
    view: str
    typed_text: str | None
    label_view: str | None
    label_box: tuple[int, int, int, int] | None
    subject: str
    machine: str
    cm_per_px: float
    index: int
    structures: frozenset[str]
    hard_words: tuple[HardWord, ...] = ()
    calipers: np.ndarray | None = None


@dataclass(frozen=True)
class Subject:
    """What the frames of one subject share."""

    number: int
    machine: Machine
    study: Study
    size: float
    brightness_db: float
    attenuation: float
    wall: float
    placenta_angle: float
    patchiness: float

    @property
    def name(self) -> str:
        """Also the patient id and the folder."""
        return f"subject-{self.number:04d}"


@lru_cache(maxsize=4096)
def subject_of(config: PhantomConfig, number: int) -> Subject:
    """Subject `number`'s traits: independent of all other subjects."""
    rng = config.rng(STREAM_SUBJECT, number)
    days = float(rng.uniform(18.5, 22.9) * 7)
    machines, shares = (EXTERNAL_MACHINES, EXTERNAL_SHARES) if config.external else (MACHINES, MACHINE_SHARES)
    machine = machines[rng.choice(len(machines), p=shares)]
    study = Study.draw(rng, number, days)
    return Subject(
        number=number,
        machine=machine,
        study=replace(study, tint="grey", show_name=False) if config.external else study,
        size=float((days / 145) ** 0.8 * rng.normal(1, 0.05)),
        brightness_db=float(rng.normal(0, 1.5)) + machine.gain_db,
        attenuation=float(rng.uniform(0.6, 1.5)),
        wall=float(rng.uniform(0.06, 0.22)),
        placenta_angle=float(rng.uniform(0, 360)),
        patchiness=float(rng.uniform(0.15, 0.32)),
    )


def iter_frames(config: PhantomConfig) -> Iterator[PhantomFrame]:
    """All frames, in order of their number; a subject's frames follow each other."""
    for index in range(config.n_frames):
        yield render_frame(config, index)


def render_frame(config: PhantomConfig, index: int) -> PhantomFrame:
    """Frame `index` (0 to n_frames - 1; IndexError beyond): the same whatever was rendered before."""
    if not 0 <= index < config.n_frames:
        raise IndexError(f"frame {index} of a phantom set of {config.n_frames}")
    layout = plan(config)
    view, scene = layout.views[index], layout.scenes[index]
    subject = subject_of(config, layout.subjects[index])
    scene_rng = config.rng(STREAM_SCENE, scene)
    depth_cm = float(scene_rng.uniform(8, 17))
    machine = subject.machine
    if view == CERVIX:
        machine, depth_cm = endocavity(machine), depth_cm / 2
    fan = choose_fan(machine, scene_rng, depth_cm)
    canvas, structures = _draw(config, view, subject, fan, scene_rng, moved=layout.cine_frame[index])
    sound = Sound(
        gain_db=subject.brightness_db + float(scene_rng.normal(0, 2.0)),
        attenuation=subject.attenuation * float(scene_rng.uniform(0.7, 1.3)),
        wall=subject.wall,
        far_fade=float(scene_rng.beta(1.2, 2)),
        contact_shadows=int(scene_rng.integers(0, 3)),
        seed=int(scene_rng.integers(2**62)),
    )
    anatomy, mask = picture(canvas, CANVAS_STEP, fan, machine, sound, config.rng(STREAM_FRAME, index))
    screen_rng = config.rng(STREAM_SCREEN, scene)  # a cine shows one screen
    label = choose_label(config, view, screen_rng)
    measurement = _measure(view, canvas.pose, screen_rng)
    screen, ink, box = draw_screen(
        anatomy, mask, fan, subject.machine, subject.study, depth_cm, label, measurement, screen_rng
    )
    hard_words: tuple[HardWord, ...] = ()
    hard_rng = config.rng(STREAM_HARD_WORDS, index)
    if hard_rng.random() < config.p_hard_words:
        screen, ink, hard_words = draw_hard_words(screen, ink, mask, hard_rng)
    caliper_rng, calipers = config.rng(STREAM_CALIPERS, index), np.zeros_like(ink)
    if caliper_rng.random() < config.p_calipers:
        screen, ink, calipers = draw_calipers(screen, ink, mask, caliper_rng)
    return PhantomFrame(
        screen=screen,
        anatomy=anatomy,
        fan=mask,
        ink=ink,
        view=view,
        typed_text=label.text,
        label_view=label.view,
        label_box=box,
        subject=subject.name,
        machine=subject.machine.name,
        cm_per_px=depth_cm / (fan.r1 - fan.r0),
        index=index,
        structures=structures,
        hard_words=hard_words,
        calipers=calipers,
    )


def _draw(
    config: PhantomConfig, view: str, subject: Subject, fan: Fan, rng: np.random.Generator, moved: int
) -> tuple[Canvas, frozenset[str]]:
    """The scene on a canvas: womb and fetal part, in a random pose about the middle of what the fan shows; parts."""
    height, width = (side // CANVAS_STEP for side in fan.size)
    seen = fan.mask(*fan.polar(8), step=8)
    rows, columns = np.nonzero(seen)
    middle = np.array([columns.mean(), rows.mean()]) * (8 / CANVAS_STEP)
    middle += rng.normal(0, 0.045, 2) * width
    scale = height / 10 * subject.size * float(rng.uniform(0.8, 1.14)) * fan.zoom**0.35 * MAGNIFICATION.get(view, 1.0)
    turn = TURN.get(view, DEFAULT_TURN)
    angle = np.deg2rad(rng.uniform(-turn, turn))
    mirror = bool(rng.random() < 0.5)
    squeeze = float(np.exp(rng.normal(0, 0.05)))
    drift = rng.normal(0, 0.012, 2) * width * moved
    angle += np.deg2rad(rng.normal(0, 2)) * moved
    texture = tissue_texture((height, width), rng, subject.patchiness)
    canvas = Canvas(texture * np.float32(MUSCLE), Pose(tuple(middle), 0.0, scale))
    if view != CERVIX:  # it brings its own
        canvas.draw(surroundings(rng, subject.placenta_angle))
    canvas.place(Pose(tuple(middle + drift), angle, scale, mirror, squeeze))
    plane = plane_of(view, int(rng.integers(2**62)), config.off_plane, rng)
    canvas.draw(plane)
    canvas.echo *= texture
    return canvas, frozenset(plane)


def _measure(view: str, pose: Pose, rng: np.random.Generator) -> Measurement | None:
    """Calipers on some of the views that are measured in every examination."""
    outlines = {
        "Femur": ("FL", np.array([(-2.5, 0.0), (2.5, 0.0)]), False, 32.0),
        "Brain": ("HC", ellipse((0, 0), 3.95, 3.1), True, 175.0),
        "Abdomen": ("AC", ellipse((0, 0), 3.3, 3.1), True, 150.0),
    }
    if view not in outlines or rng.random() > 0.25:
        return None
    name, points, closed, millimetres = outlines[view]
    placed = (points @ pose.matrix.T + pose.centre) * CANVAS_STEP
    return Measurement(name, placed, closed, millimetres * float(rng.uniform(0.9, 1.1)))
