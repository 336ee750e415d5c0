"""The vendor's screen around a picture: logo, header, settings, grey bar, ruler, probe mark.

Layouts after public frames: Voluson, Philips, and the header-less exports of FETAL_PLANES_DB (Voluson, Aloka). What is
drawn over the picture is `screen`'s.
"""

import datetime

import numpy as np
from PIL import Image, ImageDraw

from fusc_pipeline.phantom.machine_styles import Fan, Machine
from fusc_pipeline.phantom.study import Study, font

Box = tuple[int, int, int, int]
HEADER_TEXT, SETTING_TEXT, SRI_TEXT, TICK = (240, 240, 240), (172, 172, 172), (112, 112, 255), (238, 238, 150)


def draw_furniture(
    image: Image.Image, fan: Fan, machine: Machine, study: Study, depth_cm: float, rng: np.random.Generator
) -> list[Box]:
    """Draw the machine's screen on (W, H) RGB `image`; settings that change from frame to frame come from `rng`.

    Returns the boxes of what lies beside the picture and may reach into it: nobody types there.
    """
    painters = {"voluson": _voluson, "philips": _philips, "export": _export, "aloka": _aloka}
    painters[machine.layout](image, ImageDraw.Draw(image), fan, machine, study, depth_cm, rng)
    if machine.layout != "voluson":
        return []
    shares = ((0.86, 0.09, 1.0, 0.27), (0.0, 0.0, 0.055, 1.0))  # settings; grey bar and ruler
    wide, high = image.size
    return [(round(x0 * wide), round(y0 * high), round(x1 * wide), round(y1 * high)) for x0, y0, x1, y1 in shares]


def _gradient(image: Image.Image, box: Box, top: tuple, bottom: tuple) -> None:
    """A vertical colour gradient."""
    t = np.linspace(0, 1, box[3] - box[1])[:, None]
    column = (np.array(top) * (1 - t) + np.array(bottom) * t).round().astype(np.uint8)
    block = np.repeat(column[:, None], box[2] - box[0], axis=1)
    image.paste(Image.fromarray(block), box[:2])


def _ruler(draw: ImageDraw.ImageDraw, fan: Fan, depth_cm: float, x: float, s: float, side: int) -> None:
    """A tick for each half centimetre of depth, a dash for each five."""
    per_cm = (fan.r1 - fan.r0) / depth_cm
    surface = fan.apex[1] + fan.r0
    first = int(np.ceil((fan.window[1] - surface) / per_cm * 2))
    for k in range(first, first + 200):
        y = surface + k * per_cm / 2
        if y > fan.window[3] - 2:
            break
        length = 7 if k % 10 == 0 else 2 if k % 2 == 0 else 1
        thick = 1 if k % 10 == 0 else 0
        draw.rectangle(
            (x, y, x + side * length * s, y + thick) if side > 0 else (x - length * s, y, x, y + thick), fill=TICK
        )


def _voluson(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    fan: Fan,
    machine: Machine,
    study: Study,
    depth_cm: float,
    rng: np.random.Generator,
) -> None:
    """Logo block, two header bars, settings at the right, grey bar and ruler at the left, green probe mark."""
    s = image.width / 800
    dark, light = (22, 25, 29), (52, 57, 62)

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x * s), round(y * s)

    def px(x0: float, y0: float, x1: float, y1: float) -> Box:
        return (*at(x0, y0), *at(x1, y1))

    short = machine.model.split()[-1]
    _gradient(image, px(0, 13, 51, 60), light, dark)
    draw.text(at(25, 14), "Voluson", font=font("DejaVuSans", round(9 * s)), fill=HEADER_TEXT, anchor="ma")
    draw.ellipse(px(10, 29, 30, 49), outline=(205, 205, 205))
    draw.text(at(20, 39), "GE", font=font("DejaVuSerif-Italic", round(9 * s)), fill=(205, 205, 205), anchor="mm")
    draw.text(at(33, 39), short, font=font("DejaVuSans", round(9 * s)), fill=HEADER_TEXT, anchor="lm")
    for box in ((326, 13, 469, 36), (470, 13, 539, 36), (127, 37, 787, 60)):
        _gradient(image, px(*box), light, dark)
    for x in (325, 469, 539, 611, 696):
        draw.line(px(x, 37, x, 60), fill=(12, 13, 15))
    bold = font("DejaVuSans-Bold", round(11.5 * s))
    rate = int(rng.integers(19, 96))
    header = [
        (397, 25, machine.probe, "mm"),
        (504, 25, f"MI {rng.uniform(0.6, 1.2):.1f}", "mm"),
        (397, 48, f"{depth_cm:.1f}cm / {rng.uniform(1.2, 2.4):.1f} / {rate}Hz", "mm"),
        (504, 48, f"TIs {rng.uniform(0, 0.3):.1f}", "mm"),
        (653, 48, f"{study.moment:%d.%m.%Y}", "mm"),
        (784, 48, f"{study.moment + _later(rng):%H:%M:%S}", "rm"),
        (546, 48, study.operator, "lm"),
        (131, 48, f"{study.patient_name}  GA={study.gestation}" if study.show_name else f"GA={study.gestation}", "lm"),
    ]
    for x, y, text, anchor in header:
        draw.text(at(x, y), text, font=bold, fill=HEADER_TEXT, anchor=anchor)
    preset = str(rng.choice(["Routine", "2+3.Trim.", "Cardiac", "Fetal"]))
    settings = [preset, str(rng.choice(["Har-mid", "Har-low", "Har-high"])), f"Pwr  {rng.integers(80, 101)} %"]
    settings += [
        f"Gn   {rng.integers(-4, 9)}",
        f"C{rng.integers(5, 9)} / M7",
        f"P{rng.integers(2, 5)} / E{rng.integers(1, 4)}",
    ]
    small = font("DejaVuSans-Bold", round(10 * s))
    for k, text in enumerate([*settings, f"SRI II {rng.integers(2, 6)}"]):
        draw.text(at(785, 61 + 13 * k), text, font=small, fill=SRI_TEXT if k == 6 else SETTING_TEXT, anchor="ra")
    _gradient(image, px(1, 83, 10, 243), (226, 231, 248), (0, 0, 0))
    _ruler(draw, fan, depth_cm, 23 * s, s, side=1)
    focus = rng.uniform(0.4, 0.75) * image.height
    draw.polygon([(35 * s, focus - 4 * s), (39 * s, focus), (35 * s, focus + 4 * s)], outline=TICK)
    mark_x, mark_y = _probe_mark(fan, 12 * s)
    draw.ellipse((mark_x - 7 * s, mark_y - 7 * s, mark_x + 7 * s, mark_y + 7 * s), fill=(0, 200, 0))
    draw.text((mark_x, mark_y), short[:2], font=font("DejaVuSans-Bold", round(7 * s)), fill=(0, 40, 0), anchor="mm")


def _philips(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    fan: Fan,
    machine: Machine,
    study: Study,
    depth_cm: float,
    rng: np.random.Generator,
) -> None:
    """Text at the top, settings down the left side, grey bar and ruler at the right."""
    s = image.width / 800
    face, small = font("DejaVuSans", round(12 * s)), font("DejaVuSans", round(11 * s))
    bright = (225, 225, 225)
    draw.text((10 * s, 8 * s), "PHILIPS", font=font("DejaVuSans-Bold", round(14 * s)), fill=bright)
    if study.show_name:
        draw.text((150 * s, 6 * s), study.patient_name.upper(), font=face, fill=bright)
    draw.text((150 * s, 24 * s), f"GA {study.gestation}", font=face, fill=bright)
    draw.text((560 * s, 6 * s), f"TIS{rng.uniform(0, 0.4):.1f}", font=face, fill=bright)
    draw.text((620 * s, 6 * s), f"MI {rng.uniform(0.7, 1.3):.1f}", font=face, fill=bright)
    draw.text((792 * s, 6 * s), f"{study.moment:%d/%m/%Y}", font=face, fill=bright, anchor="ra")
    draw.text((792 * s, 24 * s), f"{study.moment + _later(rng):%H:%M:%S}", font=face, fill=bright, anchor="ra")
    draw.text((560 * s, 24 * s), f"{machine.probe}/OB", font=face, fill=bright)
    lines = [
        f"FR {rng.integers(20, 60)}Hz",
        f"{depth_cm:.1f}cm",
        "",
        "2D",
        f" {rng.integers(48, 80)}%",
        f" C {rng.integers(48, 62)}",
    ]
    lines += [f" P {rng.choice(['Low', 'Med', 'High'])}", f" {rng.choice(['HGen', 'HRes', 'HPen'])}"]
    for k, text in enumerate(lines):
        draw.text((10 * s, (84 + 15 * k) * s), text, font=small, fill=(190, 190, 190))
    draw.text((770 * s, 66 * s), "M3", font=small, fill=bright, anchor="ra")
    _gradient(image, (round(776 * s), round(66 * s), round(790 * s), round(190 * s)), (250, 250, 250), (0, 0, 0))
    _ruler(draw, fan, depth_cm, 768 * s, s, side=-1)
    x, y = _probe_mark(fan, 14 * s)
    draw.ellipse((x - 7 * s, y - 7 * s, x + 7 * s, y + 7 * s), outline=(60, 190, 90))
    draw.text((x, y), "P", font=font("DejaVuSans-Bold", round(9 * s)), fill=(60, 190, 90), anchor="mm")


def _export(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    fan: Fan,
    machine: Machine,
    study: Study,
    depth_cm: float,
    rng: np.random.Generator,
) -> None:
    """A Voluson's picture cut out of its screen: grey bar and ruler at the left, small settings at the top right."""
    s = image.width / 960
    _gradient(image, (round(4 * s), round(8 * s), round(12 * s), round(150 * s)), (250, 250, 250), (0, 0, 0))
    _ruler(draw, fan, depth_cm, 24 * s, s, side=1)
    settings = [f"{rng.integers(18, 60)}Hz/{depth_cm:.1f}cm", str(rng.choice(["Cardiac", "2. Trim.", "Cervix"]))]
    settings += [str(rng.choice(["Har-low", "Har-mid", "HI M"])), f"Pwr {rng.integers(80, 101)}"]
    settings += [
        f"Gn {rng.integers(-9, 9)}",
        f"C{rng.integers(4, 9)} / M{rng.integers(3, 9)}",
        f"FF{rng.integers(1, 4)} / E1",
    ]
    face = font("DejaVuSans", round(9.5 * s))
    for k, text in enumerate(settings):
        draw.text((image.width - 4 * s, (6 + 12 * k) * s), text, font=face, fill=SETTING_TEXT, anchor="ra")


def _aloka(
    image: Image.Image,
    draw: ImageDraw.ImageDraw,
    fan: Fan,
    machine: Machine,
    study: Study,
    depth_cm: float,
    rng: np.random.Generator,
) -> None:
    """A broad grey bar at the top left and a few monospaced figures at the top right."""
    s = image.width / 740
    _gradient(image, (0, round(10 * s), round(26 * s), round(60 * s)), (250, 250, 250), (20, 20, 20))
    face = font("DejaVuSansMono-Bold", round(11 * s))
    shown, held = sorted(int(v) for v in rng.integers(2, 400, 2))
    lines = [f"{shown}/{held}", f"{rng.integers(18, 50)}Hz", f"R{depth_cm:.1f}", f"C{rng.integers(8, 20)}", "A2"]
    for k, text in enumerate(lines[: 2 if rng.random() < 0.4 else 5]):
        draw.text((image.width - 6 * s, (14 + 12 * k) * s), text, font=face, fill=(235, 235, 235), anchor="ra")


def _later(rng: np.random.Generator) -> datetime.timedelta:
    """Minutes into the examination."""
    return datetime.timedelta(seconds=int(rng.integers(0, 1800)))


def _probe_mark(fan: Fan, gap: float) -> tuple[float, float]:
    """Just outside the fan's left edge, near the top of what is shown."""
    y = max(fan.window[1] + 1.6 * gap, fan.apex[1] + fan.r0 * np.cos(fan.half_angle))
    x = fan.apex[0] - (y - fan.apex[1]) * np.tan(fan.half_angle) - 1.5 * gap
    return float(max(x, fan.window[0] + 3 * gap)), float(y)
