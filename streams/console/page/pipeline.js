// The pipeline as a map: a lane for each module, stages in the order in which a record meets them.
// `layout` is a function of the flow alone; `draw` makes SVG of it, `colour` is called at each news.

import { s, address } from "./dom.js";
import { count, percent, rate, words } from "./format.js";

const COLUMN = 101;
const ROW = 46;
const LEFT = 98;
const NODE = { width: 87, height: 34 };
const WORD = 13;
const lengthAdjust = "spacingAndGlyphs";

/**
 * Where each stage stands: {nodes, edges, lanes, width, height}.
 *
 * y is by module. x is by the longest way there: a column for a step within a module, half of one for
 * a step into another, since a lane is crossed downwards anyway.
 */
export function layout(flow) {
    const byId = new Map(flow.stages.map((stage) => [stage.id, stage]));
    const columns = new Map();
    const columnOf = (id, seen = new Set()) => {
        if (columns.has(id) || seen.has(id) || !byId.has(id)) return columns.get(id) ?? 0;
        seen.add(id);
        const stage = byId.get(id);
        const before = stage.after
            .filter((near) => byId.has(near))
            .map(
                (near) => columnOf(near, seen) + (byId.get(near).module === stage.module ? 1 : 0.5),
            );
        columns.set(id, Math.max(0, ...before));
        return columns.get(id);
    };
    flow.stages.forEach((stage) => columnOf(stage.id));
    const lanes = [];
    const nodes = new Map();
    // What is required goes first, so that the straight way stays straight.
    const ordered = [...flow.stages].sort((a, b) => Number(b.required) - Number(a.required));
    for (const stage of flow.stages)
        if (!lanes.some((lane) => lane.module === stage.module))
            lanes.push({ module: stage.module, rows: [] });
    for (const stage of ordered) {
        const lane = lanes.find((one) => one.module === stage.module);
        const column = columns.get(stage.id);
        const isFree = (row) => row.every((other) => Math.abs(other - column) >= 1);
        let row = lane.rows.findIndex(isFree);
        if (row < 0) row = lane.rows.push([]) - 1;
        lane.rows[row].push(column);
        nodes.set(stage.id, { stage, lane, column, row });
    }
    // In the lanes above the last, what is required stands lowest: ways lead on into lower lanes.
    for (const node of nodes.values())
        if (node.lane !== lanes.at(-1)) node.row = node.lane.rows.length - 1 - node.row;
    let y = 4;
    for (const lane of lanes) {
        lane.y = y;
        lane.height = lane.rows.length * ROW;
        y += lane.height;
    }
    for (const node of nodes.values()) {
        node.x = LEFT + node.column * COLUMN + COLUMN / 2;
        node.y = node.lane.y + node.row * ROW + ROW / 2;
    }
    const last = Math.max(...[...nodes.values()].map((node) => node.column)) + 1;
    return { nodes, edges: flow.edges, lanes, width: LEFT + last * COLUMN + 4, height: y + 4 };
}

/** How well an edge does: "idle", "well", "worn", "lossy" or "broken". */
export function grade(scope, slo) {
    if (!scope || !scope.expected) return "idle";
    const goal = scope.slo_ratio ?? slo ?? 0.999;
    if (scope.ratio >= goal) return "well";
    const burn = (1 - scope.ratio) / (1 - goal);
    if (scope.ratio < 0.9) return "broken";
    return burn > 10 ? "lossy" : "worn";
}

/** Pixels for so many records a second: each tenfold is as much wider. */
export function thickness(perSecond) {
    return perSecond > 0 ? Math.min(9, 2 + 1.6 * Math.log10(1 + perSecond)) : 1.5;
}

export function edgeKey(flow, from, far) {
    return `${flow}/${from}>${far}`;
}

/** Draw a flow; returns {element, colour(scopes, spanUs)}. */
export function draw(flow) {
    const plan = layout(flow);
    const edges = plan.edges.map((edge) => drawEdge(plan, flow, edge)).filter(Boolean);
    const lanes = plan.lanes.map((lane, at) =>
        s(
            "g",
            { class: "lane" },
            s("rect", {
                x: 0,
                y: lane.y,
                width: plan.width,
                height: lane.height,
                class: at % 2 ? "odd" : "even",
            }),
            s(
                "text",
                { x: 12, y: lane.y + lane.height / 2, "dominant-baseline": "middle" },
                lane.module,
            ),
        ),
    );
    const nodes = [...plan.nodes.values()].map((node) => drawNode(node, flow));
    const element = s(
        "svg",
        {
            viewBox: `0 0 ${plan.width} ${plan.height}`,
            width: plan.width,
            height: plan.height,
            role: "group",
            "aria-label": `Map of the flow ${flow.id}`,
            class: "map",
        },
        lanes,
        edges.map((edge) => edge.element),
        nodes,
        edges.map((edge) => edge.label),
    );
    return {
        element,
        colour: (scopes, spanUs) => edges.forEach((edge) => edge.colour(scopes, spanUs)),
    };
}

function drawNode(node, flow) {
    const { stage, x, y } = node;
    const parts = words(stage.id).split(" ");
    const lines = parts.length > 2 ? [parts.slice(0, -1).join(" "), parts.at(-1)] : parts;
    const fit = lines.map((line) => (line.length > 16 ? `${line.slice(0, 15)}…` : line));
    const need = stage.required ? "required" : "optional";
    const title = `${stage.id}: ${stage.module}.${stage.component || "any"}, ${need}`;
    const href = address("/traces", { missing_stage: stage.id, flow: flow.id });
    return s(
        "a",
        {
            href,
            class: `node${stage.required ? "" : " optional"}`,
            "aria-label": `${title}; traces that lack it`,
        },
        s("title", null, title),
        s("rect", {
            x: x - NODE.width / 2,
            y: y - NODE.height / 2,
            width: NODE.width,
            height: NODE.height,
            rx: 7,
        }),
        fit.map((line, at) =>
            s(
                "text",
                {
                    x,
                    y: y + (at - (fit.length - 1) / 2) * 12,
                    "text-anchor": "middle",
                    "dominant-baseline": "central",
                    // Of a long word the letters are drawn narrower: it stays within its box.
                    ...(line.length > WORD ? { textLength: NODE.width - 8, lengthAdjust } : {}),
                },
                line,
            ),
        ),
    );
}

function drawEdge(plan, flow, edge) {
    const near = plan.nodes.get(edge.from_stage);
    const far = plan.nodes.get(edge.to_stage);
    if (!near || !far) return null;
    // Within a lane from side to side; into another from above or below.
    const isAside = near.lane === far.lane;
    const way = Math.sign(far.y - near.y);
    const [x1, y1, x2, y2] = isAside
        ? [near.x + NODE.width / 2, near.y, far.x - NODE.width / 2, far.y]
        : [
              near.x + NODE.width / 4,
              near.y + (way * NODE.height) / 2,
              far.x - NODE.width / 4,
              far.y - (way * NODE.height) / 2,
          ];
    const [bendX, bendY] = isAside ? [(x2 - x1) / 2, 0] : [0, (y2 - y1) / 2];
    const d = `M${x1} ${y1}C${x1 + bendX} ${y1 + bendY} ${x2 - bendX} ${y2 - bendY} ${x2} ${y2}`;
    const path = s("path", { d, class: "edge idle" });
    const title = s("title");
    const element = s("g", null, path, title);
    const text = s("text", {
        x: (x1 + x2) / 2,
        y: isAside ? (y1 + y2) / 2 - 20 : (y1 + y2) / 2 + 4,
        "text-anchor": "middle",
    });
    const label = s("a", { class: "loss", hidden: true }, text);
    const colour = (scopes, spanUs) => {
        const scope = scopes.get(edgeKey(flow.id, edge.from_stage, edge.to_stage));
        const is = grade(scope, edge.slo_ratio);
        const perSecond = scope && spanUs ? (scope.expected * 1e6) / spanUs : 0;
        path.setAttribute("class", `edge ${is}`);
        path.setAttribute("stroke-width", thickness(perSecond));
        const missing = scope ? scope.expected - scope.observed : 0;
        title.textContent = `${edge.from_stage} → ${edge.to_stage}: ${
            scope?.expected
                ? `${percent(scope.ratio)} of ${count(scope.expected)}, ${rate(perSecond)} records/s`
                : "no records lately"
        }`;
        if (missing > 0) {
            label.removeAttribute("hidden");
            label.setAttribute("class", `loss ${is}`);
            label.setAttribute(
                "href",
                address("/traces", { missing_stage: edge.to_stage, flow: flow.id }),
            );
            label.setAttribute(
                "aria-label",
                `${missing} lost between ${edge.from_stage} and ${edge.to_stage}: show traces`,
            );
            text.textContent = `−${count(missing)}`;
        } else {
            label.setAttribute("hidden", "");
            label.removeAttribute("href");
        }
    };
    return { element, label, colour };
}
