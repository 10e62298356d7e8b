// A trace as rows over time. Only the rows in sight are in the document, so that ten thousand scroll.

import { h } from "./dom.js";
import { duration, words } from "./format.js";
import { isSynthetic, noteSide, rows } from "./tree.js";

const ROW = 24;
const SPARE = 12;
/** Of a row at least, what is no name; see `.fall .name`. */
const LANE_SHARE = 0.5;

/**
 * Draw a built trace; `choose(span)` is called when one is chosen.
 *
 * Returns the element. Arrows move, left and right close and open, as in a tree.
 */
export function waterfall(tree, modules, choose, chosen = "") {
    const closed = new Set();
    let shown = rows(tree.roots, closed);
    let at = Math.max(
        0,
        shown.findIndex((row) => row.span.id === chosen),
    );
    const inner = h("div", { class: "rows", role: "presentation" });
    const box = h(
        "div",
        { class: "falls", tabindex: 0, role: "listbox", "aria-label": "Spans" },
        inner,
    );
    const length = Math.max(1, tree.end - tree.low);
    const part = (us) => `${(100 * (us - tree.low)) / length}%`;

    const drawn = new Map();
    const draw = () => {
        for (const element of drawn.values()) element.remove();
        drawn.clear();
        inner.style.height = `${shown.length * ROW}px`;
        box.style.height = `min(${shown.length * ROW + 4}px, 64vh)`;
        box.setAttribute("aria-activedescendant", `fall-${at}`);
        slide();
    };
    // While it scrolls, rows that stay in sight stay as they are.
    const slide = () => {
        const first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
        const end = first + Math.ceil((box.clientHeight || 600) / ROW) + 2 * SPARE;
        for (const [index, element] of drawn)
            if (index < first || index >= end) {
                element.remove();
                drawn.delete(index);
            }
        for (let index = first; index < Math.min(end, shown.length); index++)
            if (!drawn.has(index)) {
                const element = line(shown[index], index);
                drawn.set(index, element);
                inner.append(element);
            }
    };
    const line = ({ span, depth }, index) => {
        const element = h(
            "div",
            {
                class: `fall m${modules.indexOf(moduleOf(span)) % 6}`,
                id: `fall-${index}`,
                role: "option",
                "aria-selected": index === at,
                "aria-posinset": index + 1,
                "aria-setsize": shown.length,
                "aria-label": spoken(span),
                onclick: (event) => {
                    if (event.target.classList.contains("fold")) fold(index);
                    else select(index);
                },
            },
            h(
                "div",
                { class: "name" },
                h(
                    "span",
                    { class: "fold", "aria-hidden": "true" },
                    span.children.length ? (closed.has(span.id) ? "▸" : "▾") : "",
                ),
                title(span),
            ),
            h("div", { class: "lane" }, bar(span), h("span", { class: "time" }, note(span))),
        );
        // Beyond twenty levels the names would leave the column.
        element.querySelector(".name").style.setProperty("--depth", Math.min(depth, 20));
        element.style.top = `${index * ROW}px`;
        const shape = element.querySelector(".span");
        shape.style.left = part(span.start);
        shape.style.width = `${(100 * (span.end - span.start)) / length}%`;
        const time = element.querySelector(".time");
        const lane = LANE_SHARE * box.clientWidth;
        const before = ((span.start - tree.low) / length) * lane;
        const side = noteSide(before, ((tree.end - span.end) / length) * lane);
        if (side === "before")
            time.style.right = `${100 - (100 * (span.start - tree.low)) / length}%`;
        else if (side === "behind") time.style.left = part(span.end);
        else {
            time.classList.add("within");
            time.style.right = `${100 - (100 * (span.end - tree.low)) / length}%`;
        }
        return element;
    };
    const select = (index) => {
        at = Math.min(Math.max(0, index), shown.length - 1);
        const top = at * ROW;
        if (top < box.scrollTop) box.scrollTop = top;
        else if (top + ROW > box.scrollTop + box.clientHeight)
            box.scrollTop = top + ROW - box.clientHeight;
        draw();
        if (shown[at]) choose(shown[at].span);
    };
    const fold = (index, toClosed) => {
        const { span } = shown[index];
        if (!span.children.length) return false;
        const wish = toClosed ?? !closed.has(span.id);
        if (wish === closed.has(span.id)) return false;
        if (wish) closed.add(span.id);
        else closed.delete(span.id);
        shown = rows(tree.roots, closed);
        draw();
        return true;
    };
    box.addEventListener("scroll", slide, { passive: true });
    box.addEventListener("keydown", (event) => {
        const page = Math.floor(box.clientHeight / ROW) - 1;
        const step = {
            ArrowDown: 1,
            j: 1,
            ArrowUp: -1,
            k: -1,
            PageDown: page,
            PageUp: -page,
            Home: -shown.length,
            End: shown.length,
        }[event.key];
        if (step) select(at + step);
        else if (event.key === "ArrowLeft") {
            const parent = shown[at].span.parent;
            if (!fold(at, true) && parent) select(shown.findIndex((row) => row.span === parent));
        } else if (event.key === "ArrowRight") fold(at, false);
        else return;
        event.preventDefault();
    });
    new ResizeObserver(draw).observe(box);
    if (shown[at]) choose(shown[at].span);
    requestAnimationFrame(() => select(at));
    return h("div", null, scale(tree), box);
}

export const moduleOf = (span) => span.missing?.module ?? span.event.module;

function title(span) {
    if (span.missing)
        return h(
            "span",
            { class: "lost" },
            h("b", null, span.missing.name || span.missing.to_stage || "unknown span"),
            ` missing: ${words(span.missing.cause.toLowerCase())}`,
        );
    const { event } = span;
    return h("span", null, h("b", null, event.name), ` ${event.component || event.module}`);
}

function bar(span) {
    const kinds = ["span"];
    if (span.missing) kinds.push("missing");
    else if (isSynthetic(span.event)) kinds.push("synthetic");
    else if (span.event.status === "ERROR") kinds.push("error");
    if (span.critical) kinds.push("critical");
    return h("span", { class: kinds.join(" ") });
}

function note(span) {
    if (span.missing) return "never seen";
    const parts = [duration(span.event.duration_us)];
    if (span.skew > 0) parts.push(`starts ${duration(span.skew)} before its parent: clocks differ`);
    if (span.isOrphan) parts.push("parent not seen");
    if (span.notes.length) parts.push(`✎ ${span.notes.length}`);
    return parts.join(" · ");
}

function spoken(span) {
    if (span.missing)
        return `missing: ${span.missing.name || span.missing.to_stage}, ${span.missing.cause}`;
    const { event } = span;
    const error = event.status === "ERROR" ? ", error" : "";
    const critical = span.critical ? ", on the critical path" : "";
    return `${event.name}, ${event.module}, ${duration(event.duration_us)}${error}${critical}`;
}

function scale(tree) {
    const length = tree.end - tree.low;
    return h(
        "div",
        { class: "scale", "aria-hidden": "true" },
        [0, 0.25, 0.5, 0.75, 1].map((share) => {
            const tick = h("span", null, duration(Math.round(tree.low + share * length)));
            tick.style.left = `${share * 100}%`;
            return tick;
        }),
    );
}
