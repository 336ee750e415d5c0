"""What a phantom data set holds: sizes, shares and the plan that gives every frame its view, subject and cine.

No drawing here. The plan is a pure function of the configuration, so that frame i can be rendered without frame i-1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import cast

import numpy as np

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.views import PAPER_VIEW_SHARES, VIEWS

CERVIX = "Cervix"
"""A plane that only external phantoms show; no view of `fusc_pipeline.base.views`, and so never a pseudo-label."""

FRAMES_PER_SUBJECT = 40 / 3
"""Used when n_subjects is not given: 640 frames make 48 subjects."""

# Names of the independent random streams; each frame, scene and subject draws from its own.
STREAM_PLAN, STREAM_SUBJECT, STREAM_SCENE, STREAM_FRAME, STREAM_SCREEN, STREAM_FILE = range(6)
STREAM_HARD_WORDS, STREAM_CALIPERS = 6, 7


@dataclass(frozen=True)
class PhantomConfig:
    """A phantom data set. Every `p_…` is a probability, 0 to 1; a label's fates are drawn once, in the order listed.

    n_frames, n_subjects: how many (default: one subject for 13⅓ frames); seed: 0 or more.
    view_shares: "paper" (Figure 1), "balanced", or a mapping view -> weight.
    p_no_label: nothing typed; p_two_views: two views typed (nobody can tell which); p_wrong_label: another view's name;
    p_misspelt: one letter dropped, doubled or two swapped; p_lowercase; p_two_line: broken over two lines.
    p_second_annotation: a harmless second annotation elsewhere ("RT", "SAG", "PLACENTA").
    p_hard_words: names burnt into the picture turned, dark, faint or one letter below another, others in every frame.
    p_calipers: crosses with digits, dotted lines and ellipses as machines draw them, over any tissue.
    label_independent: the typed label is uniform over the 15 views whatever the anatomy, on every frame, spelt right.
    cine_share: share of frames that are part of a multi-frame cine. off_plane: how far a plane may slide towards a
    neighbouring view, 0 (textbook) to 0.5 (half-way). external: frames of another data set, as `external` writes it:
    machines that the other phantoms never come from, and the plane CERVIX among those that `view_shares` may name.
    """

    n_frames: int = 640
    n_subjects: int | None = None
    seed: int = 0
    view_shares: Mapping[str, float] | str | tuple[tuple[str, float], ...] = "paper"
    p_no_label: float = 0.08
    p_two_views: float = 0.01
    p_wrong_label: float = 0.01
    p_misspelt: float = 0.04
    p_lowercase: float = 0.08
    p_two_line: float = 0.06
    p_second_annotation: float = 0.15
    p_hard_words: float = 0.0
    p_calipers: float = 0.0
    label_independent: bool = False
    cine_share: float = 0.04
    off_plane: float = 0.25
    external: bool = False

    def __post_init__(self) -> None:
        if self.n_frames < 1:
            raise BadSetting(f"n_frames is {self.n_frames}; a phantom set needs at least 1 frame")
        n_subjects = max(1, round(self.n_frames / FRAMES_PER_SUBJECT)) if self.n_subjects is None else self.n_subjects
        if not 1 <= n_subjects <= self.n_frames:
            raise BadSetting(f"n_subjects is {n_subjects}; give 1 to n_frames ({self.n_frames})")
        object.__setattr__(self, "n_subjects", n_subjects)
        if self.seed < 0:
            raise BadSetting(f"seed is {self.seed}; give 0 or more")
        for name in (f.name for f in fields(self) if f.name.startswith("p_")):
            if not 0 <= getattr(self, name) <= 1:
                raise BadSetting(f"{name} is {getattr(self, name)}; give a probability from 0 to 1")
        if self.p_no_label + self.p_two_views > 1:
            raise BadSetting(
                "p_no_label and p_two_views are more than 1 together; a frame has one fate, lower one of them"
            )
        if not 0 <= self.cine_share <= 1:
            raise BadSetting(f"cine_share is {self.cine_share}; give a share from 0 to 1")
        if not 0 <= self.off_plane <= 0.5:
            raise BadSetting(
                f"off_plane is {self.off_plane}; give 0 (textbook planes) to 0.5 (half-way to a neighbour)"
            )
        # A tuple of pairs can be hashed, so that a configuration can key the cached plan.
        object.__setattr__(self, "view_shares", tuple(_shares(self.view_shares, self.planes).items()))

    @property
    def planes(self) -> tuple[str, ...]:
        """What frames may show, in the plan's order."""
        return (*VIEWS, CERVIX) if self.external else VIEWS

    @property
    def subjects(self) -> int:
        """How many subjects there are."""
        assert self.n_subjects is not None  # `__post_init__` has set it
        return self.n_subjects

    @property
    def shares(self) -> dict[str, float]:
        """View -> share of the frames, summing to 1."""
        return dict(cast(tuple[tuple[str, float], ...], self.view_shares))  # as `__post_init__` leaves it

    def rng(self, stream: int, *keys: int) -> np.random.Generator:
        """The generator of one stream and key (subject, scene or frame number): independent of all others."""
        return np.random.default_rng(np.random.SeedSequence([self.seed, stream, *keys]))


def _shares(given: Mapping[str, float] | str | tuple, planes: tuple[str, ...]) -> dict[str, float]:
    if isinstance(given, str):
        named = {"paper": PAPER_VIEW_SHARES, "balanced": dict.fromkeys(planes, 1.0)}
        if given not in named:
            raise BadSetting(f'view_shares is {given!r}; give "paper", "balanced" or a mapping view -> weight')
        given = named[given]
    weights = dict(given)
    unknown = [view for view in weights if view not in planes]
    if unknown:
        raise BadSetting(
            f"view_shares names {unknown[0]!r}, which is none of the {len(planes)} views: {', '.join(planes)}"
        )
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) <= 0:
        raise BadSetting("view_shares holds a negative weight or only zeros; give weights of 0 or more, one above 0")
    total = sum(weights.values())
    return {view: weights.get(view, 0.0) / total for view in planes}


@dataclass(frozen=True)
class Plan:
    """Frame number -> view, subject number, scene number (frames of one cine share it) and place in the cine."""

    views: tuple[str, ...]
    subjects: tuple[int, ...]
    scenes: tuple[int, ...]
    cine_frame: tuple[int, ...]
    cine_length: tuple[int, ...]
    scene_frames: dict[int, tuple[int, ...]] = field(hash=False)


@lru_cache(maxsize=16)
def plan(config: PhantomConfig) -> Plan:
    """The whole set's plan: view counts by largest remainder, subjects of uneven size, views spread over subjects."""
    rng, subjects_wanted = config.rng(STREAM_PLAN), config.subjects
    counts = _largest_remainder(np.array(list(config.shares.values())), config.n_frames)
    pool = rng.permutation(np.repeat(np.arange(len(config.planes)), counts))
    weights = rng.uniform(0.6, 1.4, subjects_wanted)
    base = min(2, config.n_frames // subjects_wanted)
    sizes = base + _largest_remainder(weights / weights.sum(), config.n_frames - base * subjects_wanted)
    subjects = np.repeat(np.arange(subjects_wanted), sizes)
    _spread_views(pool, subjects, rng)
    for subject in range(subjects_wanted):  # a subject's frames of one view stand together: a cine can take them
        mine = subjects == subject
        pool[mine] = np.sort(pool[mine])
    scenes, position, length = _cines(pool, subjects, 0.0 if config.label_independent else config.cine_share, rng)
    frames: dict[int, list[int]] = {}
    for index, scene in enumerate(scenes):
        frames.setdefault(int(scene), []).append(index)
    return Plan(
        views=tuple(config.planes[v] for v in pool),
        subjects=tuple(map(int, subjects)),
        scenes=tuple(map(int, scenes)),
        cine_frame=tuple(map(int, position)),
        cine_length=tuple(map(int, length)),
        scene_frames={scene: tuple(members) for scene, members in frames.items()},
    )


def _largest_remainder(shares: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total` and are within one of share x total."""
    exact = shares * total
    counts = np.floor(exact).astype(int)
    for k in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[k] += 1
    return counts


def _spread_views(pool: np.ndarray, subjects: np.ndarray, rng: np.random.Generator) -> None:
    """Swap views in place so that a subject with two frames or more has two views or more, where the pool allows."""
    for subject in range(subjects.max() + 1):
        mine = np.flatnonzero(subjects == subject)
        if len(mine) < 2 or len(np.unique(pool[mine])) > 1:
            continue
        others = np.flatnonzero((subjects != subject) & (pool != pool[mine[0]]))
        if len(others):
            swap = rng.choice(others)
            pool[mine[0]], pool[swap] = pool[swap], pool[mine[0]]


def _cines(
    pool: np.ndarray, subjects: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join runs of 3 to 8 frames of one subject and view into cines until about `share` of the frames is in one."""
    n = len(pool)
    scenes, position, length = np.arange(n), np.zeros(n, int), np.ones(n, int)
    breaks = np.flatnonzero(np.diff(pool) | np.diff(subjects)) + 1
    runs = [run for run in np.split(np.arange(n), breaks) if len(run) >= 3]
    budget = round(share * n)
    for k in rng.permutation(len(runs)):
        run = runs[k][:8]
        if len(run) > budget:
            continue
        budget -= len(run)
        scenes[run], position[run], length[run] = run[0], np.arange(len(run)), len(run)
    return scenes, position, length
