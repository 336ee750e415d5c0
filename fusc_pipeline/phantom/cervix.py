"""The maternal cervix, seen lengthwise from the vagina: canal, both lips, bladder before it, the fetal head above it.

No view of the pipeline's fifteen: external data sets show it, and no model of ours was trained on it.
"""

import numpy as np

from fusc_pipeline.phantom.shapes import (
    BODY,
    BONE,
    BRAIN,
    BRIGHT,
    CAVITY,
    FLUID,
    MUSCLE,
    WALL,
    Plane,
    curve,
    ellipse,
    jitter,
    line,
    region,
    tube,
)


def plane(_view: str, rng: np.random.Generator) -> Plane:
    """One woman's: the probe above, the womb to the left, the vagina to the right (a pose may mirror it)."""
    half, thick = 2.5 * jitter(rng, 0.14), 1.15 * jitter(rng, 0.12)
    bend = rng.uniform(-0.4, 0.8)
    x = np.linspace(-half, half, 24)

    def canal(offset: np.ndarray | float) -> np.ndarray:
        return np.stack([x, offset - bend * (1 - (x / half) ** 2)], 1)

    full = 0.55 + 0.45 * np.sqrt(np.clip(1 - (x / (1.05 * half)) ** 4, 0, 1))  # lips are round at the outer end
    anterior, posterior = canal(-thick * full), canal(thick * jitter(rng, 0.1) * full)
    inner = canal(0.0)[0]
    head = (float(inner[0]) - 2.9 * jitter(rng, 0.06), float(inner[1]) + rng.uniform(0.1, 1.1))
    shapes: Plane = {
        "pelvis": region(ellipse((0, 0), 14, 14), MUSCLE * rng.uniform(0.25, 0.5), BODY),
        "waters": region(ellipse((float(inner[0]) - 1.7, float(inner[1]) + 0.2), 2.0, 2.7, 12), FLUID, BODY),
        "head": region(ellipse(head, 2.35, 2.2), BRAIN, BODY),
        "anterior lip": region(np.concatenate([anterior, canal(0.0)[::-1]]), MUSCLE * 1.5 * jitter(rng, 0.12)),
        "posterior lip": region(np.concatenate([canal(0.0), posterior[::-1]]), MUSCLE * 1.3 * jitter(rng, 0.12)),
        "mucosa": region(tube(canal(0.0), 0.27 * jitter(rng, 0.2)), MUSCLE * 0.16, CAVITY),
        "canal": line(canal(0.0), WALL * 2, 0.08),
        "skull": line(ellipse(head, 2.35, 2.2, start=-110, stop=80), BONE * 0.8, 0.2, shadow=0.3),
        "anterior edge": line(anterior, WALL * 1.2, 0.08),
        "posterior edge": line(posterior, WALL * 1.8, 0.1),
        "vagina": line(curve([(half, 0.0), (half + 0.9, -0.5), (half + 2.2, -0.9)]), BRIGHT * 0.8, 0.12),
        "rectum": line(
            curve([(-half, thick + 1.2), (0.4, thick + 0.9), (half + 1.4, thick + 0.3)]), BRIGHT * 0.6, 0.16
        ),
    }
    if rng.random() < 0.75:  # full or emptied
        fill = rng.uniform(0.4, 1.1)
        top = -thick - 0.25 - bend
        bladder = curve(
            [(-half - 0.4, top), (-0.3, top - 0.1), (-1.0, top - fill), (-half - 0.6, top - 0.9 * fill)], True
        )
        shapes["bladder"] = region(bladder, FLUID, CAVITY)
        shapes["bladder wall"] = line(bladder, WALL, 0.09, closed=True)
    if rng.random() < 0.35:  # the inner mouth opens
        deep = rng.uniform(0.5, 1.3)
        funnel = inner + np.array([(-0.1, -0.5), (deep, 0.0), (-0.1, 0.5)])
        shapes["funnel"] = region(funnel, FLUID, CAVITY)
    if rng.random() < 0.3:
        at = (float(rng.uniform(-0.6, 0.8) * half), float(rng.uniform(0.45, 0.7) * thick))
        shapes["cyst"] = region(ellipse(at, 0.24, 0.2), FLUID, CAVITY)
    return shapes
