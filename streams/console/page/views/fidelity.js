// Fidelity: which edge lost how much when, and how fast the budgets burn; each cell leads to traces.

import { contract, get } from "../api.js";
import { bucket, labelled } from "../buckets.js";
import { chart } from "../charts.js";
import { go } from "../app.js";
import { address, choice, field, h, put, state } from "../dom.js";
import { clock, count, duration, isoOf, micros, moment, percent, rate } from "../format.js";
import { panel } from "../parts.js";
import { grade } from "../pipeline.js";
import { minutes, RANGES, span, stepped } from "../range.js";

const KEY = [
    ["well", "Within the objective"],
    ["worn", "Below it"],
    ["lossy", "Ten times the budget"],
    ["broken", "Under 90 %"],
    ["idle", "Nothing was due"],
];
const KINDS = { edge: "edges", module: "modules", flow: "flows", stage: "stages" };

export async function show(view) {
    const { query } = view;
    const catalog = await contract();
    const kind = KINDS[query.kind] ? query.kind : "edge";
    const range = stepped(span(query));
    const map = h("div");
    const burn = h("div");
    const submit = (event) => {
        event?.preventDefault();
        go(address("/fidelity", Object.fromEntries(new FormData(form))));
    };
    const form = h(
        "form",
        { class: "filters", onsubmit: submit, onchange: submit },
        field("Within the last", choice("range", Object.keys(RANGES), query.range || "1h", null)),
        field("Of", choice("kind", Object.keys(KINDS), kind, null)),
        field(
            "Flow",
            choice(
                "flow",
                catalog.flows.map((flow) => flow.id),
                query.flow,
            ),
        ),
    );
    put(view.main, h("h1", { class: "hidden" }, "Fidelity"), panel("Filter", form), map, burn);
    put(map, state("loading", "Loading …"));
    const [found, flows] = await Promise.all([
        get("fidelity", { ...range, kind, flow: query.flow }, view.signal),
        get("fidelity", { ...range, kind: "flow" }, view.signal),
    ]);
    if (!view.isCurrent()) return;
    const cut = found.is_cut
        ? h("p", { class: "lost" }, "There are more windows than are shown: choose a flow.")
        : null;
    put(map, panel(`Lost by ${KINDS[kind]} and time`, cut, heat(found.series, query, catalog)));
    const scroll = map.querySelector(".scroll");
    if (scroll) scroll.scrollLeft = scroll.scrollWidth; // the newest is what people look for
    put(burn, burning(view, flows.series));
}

function heat(series, query, catalog) {
    const { starts, stepUs, cells } = bucket(series);
    if (!starts.length)
        return state(
            "empty",
            "No window of fidelity lies in this time.",
            `Asked for ${duration(minutes(query) * 60e6)} until now.`,
        );
    const order = new Map(
        catalog.flows.flatMap((flow) =>
            flow.edges.map((edge, at) => [`${flow.id}/${edge.from_stage}>${edge.to_stage}`, at]),
        ),
    );
    const sorted = [...series].sort(
        (a, b) =>
            a.flow.localeCompare(b.flow) ||
            (order.get(nameOf(a)) ?? 999) - (order.get(nameOf(b)) ?? 999) ||
            nameOf(a).localeCompare(nameOf(b)),
    );
    const isFew = starts.length <= 24;
    const hasSeconds = Boolean(stepUs % 60e6);
    const every = labelled(starts.length, isFew, hasSeconds);
    return [
        h(
            "p",
            { class: "small key" },
            `A column is ${duration(stepUs)}. `,
            KEY.map(([name, text]) => [h("span", { class: `swatch ${name}` }), ` ${text}. `]),
            "A cell that lost something leads to its traces.",
        ),
        h(
            "div",
            { class: "scroll", tabindex: 0, role: "region", "aria-label": "Heat map" },
            h(
                "table",
                { class: isFew ? "heat few" : "heat" },
                h("caption", { class: "hidden" }, "Lost by time"),
                h(
                    "thead",
                    null,
                    h(
                        "tr",
                        null,
                        h("th", { scope: "col" }, "UTC"),
                        starts.map((us, at) =>
                            h(
                                "th",
                                { scope: "col" },
                                at % every || (at && at + every > starts.length)
                                    ? h("span", { class: "hidden" }, clock(isoOf(us)))
                                    : clock(isoOf(us)).slice(0, hasSeconds ? 8 : 5),
                            ),
                        ),
                        h("th", { scope: "col", class: "sum" }, "Lost"),
                    ),
                ),
                h(
                    "tbody",
                    null,
                    sorted.map((one) => line(one, cells.get(one), starts, stepUs)),
                ),
            ),
        ),
    ];
}

const nameOf = (one) => `${one.flow}/${one.from_stage}>${one.to_stage}`;

function titleOf(one) {
    if (one.kind === "edge") return `${one.from_stage} → ${one.to_stage}`;
    return one.kind === "module" ? one.module : one.kind === "stage" ? one.to_stage : one.flow;
}

function line(one, row, starts, stepUs) {
    const slo = one.windows.at(-1).slo_ratio;
    const lost = row.reduce((sum, cell) => sum + cell.expected - cell.observed, 0);
    return h(
        "tr",
        null,
        h(
            "th",
            { scope: "row" },
            titleOf(one),
            one.kind === "edge" ? h("span", { class: "small" }, ` ${one.flow}`) : null,
        ),
        row.map((cell, at) => {
            const ratio = cell.expected ? cell.observed / cell.expected : null;
            const is = grade({ ...cell, ratio, slo_ratio: slo }, 0.999);
            const gone = cell.expected - cell.observed;
            if (!gone) return h("td", { class: is });
            const [start, end] = [isoOf(starts[at] - 60e6), isoOf(starts[at] + stepUs)];
            const wanted =
                one.kind === "module" ? { module: one.module } : { missing_stage: one.to_stage };
            const text = `${gone} of ${cell.expected} lost at ${clock(isoOf(starts[at]))}, ${percent(ratio)}`;
            return h(
                "td",
                { class: is },
                h("a", {
                    href: address("/traces", { flow: one.flow, ...wanted, start, end }),
                    title: text,
                    "aria-label": `${titleOf(one)}: ${text}`,
                }),
            );
        }),
        h("td", { class: "sum" }, lost ? count(lost) : ""),
    );
}

function burning(view, series) {
    const flows = series.filter((one) => one.windows.length);
    if (!flows.length) return null;
    return h(
        "div",
        { class: "three" },
        flows.map((one) => {
            const data = [
                one.windows.map((window) => micros(window.window_start) / 1e6),
                one.windows.map((window) => window.burn_rate_short),
                one.windows.map((window) => window.burn_rate_long),
            ];
            const last = one.windows.at(-1);
            const plot = chart(
                view,
                `Burn rate of the flow ${one.flow}`,
                [
                    {
                        label: "short window",
                        stroke: "--lossy",
                        value: (value) => `${rate(value)}×`,
                    },
                    { label: "long window", stroke: "--link", value: (value) => `${rate(value)}×` },
                ],
                data,
                { height: 140 },
            );
            return panel(
                `Budget burn: ${one.flow}`,
                h(
                    "p",
                    { class: "small" },
                    `Objective ${percent(last.slo_ratio)}; at 1× the budget lasts exactly its time. `,
                    `The newest ${duration(last.window_us)}, from ${moment(last.window_start)} UTC: ${percent(last.ratio)}.`,
                ),
                plot.element,
            );
        }),
    );
}
