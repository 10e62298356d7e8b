// uPlot in the colours of the page.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { h, put } from "./dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const times = (_, ticks, __, ___, step) =>
    ticks.map((seconds) => new Date(seconds * 1e3).toISOString().slice(11, step < 60 ? 19 : 16));

// From nothing up, and never so near that nothing looks like something.
const fromZero = (_, __, high) => [0, Math.max(1, (high ?? 0) * 1.08)];

/**
 * A chart that follows the width of its place and the theme.
 *
 * `lines`: {label, stroke: name of a CSS variable, value: how to write one}; `data`: seconds first.
 */
export function chart(view, title, lines, data, { height = 150 } = {}) {
    const box = h("div", { class: "chart", role: "img", "aria-label": title });
    let plot;
    const draw = () => {
        plot?.destroy();
        const axis = {
            stroke: colour("--dim"),
            grid: { stroke: colour("--line"), width: 1 },
            ticks: { stroke: colour("--line") },
            font: "11px system-ui, sans-serif",
        };
        plot = new uPlot(
            {
                width: Math.max(200, box.clientWidth),
                height,
                tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
                cursor: { sync: { key: "spanloom" }, points: { size: 5 } },
                legend: { live: true },
                scales: { y: { range: fromZero } },
                axes: [
                    { ...axis, size: 28, space: 64, values: times },
                    {
                        ...axis,
                        size: 52,
                        values: (_, ticks) =>
                            ticks.map((tick) => (tick === null ? "" : lines[0].value(tick))),
                    },
                ],
                series: [
                    { label: "UTC" },
                    ...lines.map((line) => ({
                        label: line.label,
                        stroke: colour(line.stroke),
                        width: 1.6,
                        spanGaps: false,
                        dash: line.dash,
                        points: { show: false },
                        value: (_, value) => (value === null ? "–" : line.value(value)),
                    })),
                ],
            },
            data,
            put(box),
        );
    };
    const resized = new ResizeObserver(() => {
        if (!plot) draw();
        else if (Math.abs(plot.width - box.clientWidth) > 1)
            plot.setSize({ width: box.clientWidth, height });
    });
    resized.observe(box);
    addEventListener("theme", draw);
    view.onLeave(() => {
        resized.disconnect();
        removeEventListener("theme", draw);
        plot?.destroy();
    });
    return {
        element: box,
        set: (next) => {
            data = next;
            plot?.setData(next);
        },
    };
}
