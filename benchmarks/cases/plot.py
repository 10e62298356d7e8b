"""Small line charts as plain SVG: no library, no background, legible on light and on dark pages."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 320
HEIGHT: Final = 230
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 34, 46
INK: Final = "#7d8590"
"""Grey that can be read on white and on black."""
LINES: Final = ("#2f81f7", "#d29922", "#3fb950", "#db61a2")


@dataclass(frozen=True)
class Series:
    """One line: its name and its points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Chart:
    """One chart; x is logarithmic when it spans more than a decade, y begins at zero."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]


def nice_ticks(highest: float, count: int = 4) -> list[float]:
    """Return round numbers from 0 to at least `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / count
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough * (1 - 1e-9))
    ticks = [0.0]
    while ticks[-1] < highest * (1 - 1e-9):
        ticks.append(round(ticks[-1] + step, 10))
    return ticks


def short(number: float) -> str:
    """Return a number for an axis: 250k, 1M, 0.3."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:g}{unit}"
    return f"{number:g}"


def grid(rows: Sequence[Sequence[Chart]], label: str) -> str:
    """Return an SVG of charts in rows."""
    width = WIDTH * max(len(row) for row in rows)
    height = HEIGHT * len(rows)
    body = [
        f'<g transform="translate({WIDTH * x},{HEIGHT * y})">{_chart(chart)}</g>'
        for y, row in enumerate(rows)
        for x, chart in enumerate(row)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="11" '
            f'fill="{INK}" role="img" aria-label="{escape(label)}">',
            *body,
            "</svg>\n",
        ]
    )


def _chart(chart: Chart) -> str:
    points = [p for series in chart.series for p in series.points]
    xs = sorted({x for x, _ in points})
    ticks = nice_ticks(max((y for _, y in points), default=0.0))
    at_x = _x_scale(xs)

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * y / ticks[-1]

    middle = (LEFT + WIDTH - RIGHT) / 2
    out = [_text(middle, 16, chart.title, "middle", 'font-weight="bold" font-size="12"')]
    for tick in ticks:
        y = at_y(tick)
        out.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" '
            f'stroke="{INK}" stroke-opacity="{0.9 if tick == 0 else 0.25}"/>'
        )
        out.append(_text(LEFT - 6, y + 4, short(tick), "end"))
    out += [_text(at_x(x), HEIGHT - BOTTOM + 15, short(x), "middle") for x in xs]
    out.append(_text(middle, HEIGHT - 12, chart.x_label, "middle"))
    turned = f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2:.0f})"'
    out.append(_text(14, (TOP + HEIGHT - BOTTOM) / 2, chart.y_label, "middle", turned))
    for number, series in enumerate(chart.series):
        out += _line(series, LINES[number % len(LINES)], at_x, at_y)
    if len(chart.series) > 1:
        out += _legend(chart.series)
    return "".join(out)


def _x_scale(xs: Sequence[float]) -> Callable[[float], float]:
    low, high = (xs[0], xs[-1]) if xs else (0.0, 1.0)
    is_log = low > 0 and high / low >= 10
    left, right = LEFT + 14, WIDTH - RIGHT - 14

    def at_x(x: float) -> float:
        if high == low:
            return (left + right) / 2
        share = math.log(x / low) / math.log(high / low) if is_log else (x - low) / (high - low)
        return left + (right - left) * share

    return at_x


def _line(
    series: Series, colour: str, at_x: Callable[[float], float], at_y: Callable[[float], float]
) -> list[str]:
    at = [(at_x(x), at_y(y)) for x, y in sorted(series.points)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in at),
    ]


def _legend(series: Sequence[Series]) -> list[str]:
    out = []
    for number, one in enumerate(series):
        x = LEFT + 6 + number * 110
        colour = LINES[number % len(LINES)]
        out.append(f'<rect x="{x}" y="22" width="9" height="9" fill="{colour}"/>')
        out.append(_text(x + 13, 30, one.name, "start"))
    return out


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
