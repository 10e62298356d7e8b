// A lineage graph: columns of boxes from where a record came from to where it went.

import { h, s, state } from "./dom.js";

/** Columns of a graph without cycles: each node after all that lead to it. */
export function columnsOf(nodes, edges) {
    const column = new Map(nodes.map((node) => [node.id, 0]));
    // As often as there are nodes at most: a cycle would go on for ever.
    for (let turn = 0; turn < nodes.length; turn++) {
        let isDone = true;
        for (const edge of edges) {
            if (!column.has(edge.from) || !column.has(edge.to)) continue;
            const wanted = Math.min(column.get(edge.from) + 1, nodes.length - 1);
            if (column.get(edge.to) < wanted) {
                column.set(edge.to, wanted);
                isDone = false;
            }
        }
        if (isDone) break;
    }
    // What nothing leads to stands right before what it leads to, not at the far left.
    for (const node of nodes) {
        if (edges.some((edge) => edge.to === node.id)) continue;
        const next = edges.filter((edge) => edge.from === node.id && column.has(edge.to));
        if (next.length)
            column.set(node.id, Math.min(...next.map((edge) => column.get(edge.to))) - 1);
    }
    return column;
}

/** Draw nodes and edges as the interface gives them. */
export function draw(found) {
    if (!found.nodes?.length) return state("empty", "The record touched nothing that is known.");
    const [wide, high] = [190, 52];
    const column = columnsOf(found.nodes, found.edges);
    const filled = new Map();
    const places = new Map(
        found.nodes.map((node) => {
            const x = column.get(node.id);
            const y = filled.get(x) ?? 0;
            filled.set(x, y + 1);
            return [node.id, { x: 10 + x * wide, y: 10 + y * high }];
        }),
    );
    const width = 20 + (Math.max(...column.values()) + 1) * wide;
    const height = 20 + Math.max(...filled.values()) * high;
    const lines = found.edges
        .filter((edge) => places.has(edge.from) && places.has(edge.to))
        .map((edge) => {
            const [a, b] = [places.get(edge.from), places.get(edge.to)];
            const [x1, y1, x2, y2] = [a.x + 160, a.y + 19, b.x, b.y + 19];
            return s(
                "path",
                { d: `M${x1} ${y1}C${x1 + 15} ${y1} ${x2 - 15} ${y2} ${x2} ${y2}` },
                s("title", null, edge.kind),
            );
        });
    const boxes = found.nodes.map((node) => {
        const { x, y } = places.get(node.id);
        const label = node.label || node.id;
        return s(
            "g",
            node.kind === "missing" ? { class: "lost" } : null,
            s("title", null, `${node.kind}: ${label} ${node.at ?? ""}`),
            s("rect", { x, y, width: 160, height: 38, rx: 6 }),
            s(
                "text",
                { x: x + 8, y: y + 16 },
                label.length > 24 ? `${label.slice(0, 23)}…` : label,
            ),
            s(
                "text",
                { x: x + 8, y: y + 31, class: "dim" },
                [node.kind, node.module].filter(Boolean).join(" · "),
            ),
        );
    });
    const listed = h(
        "details",
        null,
        h("summary", null, "As a list"),
        h(
            "ul",
            { class: "bullets" },
            found.edges.map((edge) => h("li", null, `${edge.from} → ${edge.to} (${edge.kind})`)),
        ),
    );
    return [
        h(
            "div",
            { class: "scroll", tabindex: 0, role: "region", "aria-label": "Lineage graph" },
            s(
                "svg",
                {
                    class: "graph",
                    viewBox: `0 0 ${width} ${height}`,
                    width,
                    height,
                    role: "img",
                    "aria-label": `Lineage of ${found.record_id}, ${found.nodes.length} places`,
                },
                lines,
                boxes,
            ),
        ),
        listed,
    ];
}
