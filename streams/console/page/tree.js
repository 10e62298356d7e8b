// What a trace looks like as rows: order, depth, and the rows of what never came.
// Functions of the trace alone; times are microseconds from the trace's start.

import { count, counted, micros } from "./format.js";

const SEEN_SHARE = 0.06;
/** As much as a time of seven characters takes. */
const NOTE_PX = 56;

export const isSynthetic = (span) => span.operation === "LINK" && span.actor === "spanloom";

/**
 * Return {spans, roots, low, end, loose}: a trace's spans with their children and places, the times
 * between which they lie, and events that belong to no span.
 *
 * A span is {id, parent, children, start, end, event, missing, notes, critical, skew}. `critical`
 * is {own_us, waited_us}, as the interface says it of a span on the critical path. What is missing
 * is a span with `missing`, from the end of the stage before it to what came after.
 */
export function build(trace, flow) {
    const begin = micros(trace.start);
    const spans = new Map();
    const events = trace.spans.filter((event) => event.event_type === "TRACE");
    for (const event of events) {
        // One span may be told twice, by two events; each is a row.
        const id = spans.has(event.span_id) ? `${event.span_id}/${event.event_id}` : event.span_id;
        const start = micros(event.timestamp) - begin;
        spans.set(id, {
            id,
            event,
            start,
            end: start + event.duration_us,
            children: [],
            notes: [],
            parent: null,
        });
    }
    // Of a span that was told twice the first row is on the path, and that has the bare id.
    for (const one of trace.critical_path) spans.get(one.span_id).critical = one;
    const loose = [];
    for (const event of trace.spans) {
        if (event.event_type === "TRACE") continue;
        const owner = spans.get(event.span_id);
        (owner ? owner.notes : loose).push(event);
    }
    const roots = [];
    for (const span of spans.values()) {
        const parent = spans.get(span.event.parent_span_id);
        if (parent && parent !== span && !leadsTo(parent, span)) {
            span.parent = parent;
            parent.children.push(span);
            span.skew = Math.max(0, parent.start - span.start);
        } else {
            span.isOrphan = Boolean(span.event.parent_span_id);
            roots.push(span);
        }
    }
    const end = most(
        [...spans.values()].map((span) => span.end),
        Math.max(trace.duration_us, 1),
    );
    const stages = new Map(trace.stages.map((one) => [one.stage, one]));
    trace.missing.forEach((one, at) =>
        addMissing({ one, at, spans, roots, stages, begin, end, flow }),
    );
    for (const span of spans.values()) span.children.sort(byStart);
    roots.sort(byStart);
    const low = -most(
        [...spans.values()].map((span) => -span.start),
        0,
    );
    const last = most(
        [...spans.values()].map((span) => span.end),
        end,
    );
    return { spans, roots, low, end: last, loose };
}

// Math.max takes arguments, and a trace may have more spans than a call may have of those.
const most = (values, least) => values.reduce((a, b) => (a > b ? a : b), least);
// What is missing between the same two stages has one place in time: it stays in the flow's order.
const byStart = (a, b) =>
    a.start - b.start || a.end - b.end || turnOf(a) - turnOf(b) || (a.id < b.id ? -1 : 1);
const turnOf = (span) => span.turn ?? -1;

function leadsTo(from, span) {
    for (let at = from, n = 0; at && n < 100_000; at = at.parent, n++) if (at === span) return true;
    return false;
}

/** A stage's place in time: {start, end} from the trace's start. */
function placeOf(stage, begin) {
    const start = micros(stage.start) - begin;
    return { start, end: start + stage.duration_us };
}

function addMissing({ one, at, spans, roots, stages, begin, end, flow }) {
    const near = stages.get(one.from_stage);
    const from = near ? placeOf(near, begin).end : 0;
    const laterNames = flow ? following(flow, one.to_stage) : new Set();
    const later = [...laterNames]
        .map((name) => stages.get(name))
        .filter(Boolean)
        .map((stage) => placeOf(stage, begin).start);
    // At the end of all that came nothing says how long it was: long enough to be seen.
    const until = later.length ? Math.min(...later) : Math.max(end, from + SEEN_SHARE * end);
    const span = {
        id: `missing-${at}`,
        turn: at,
        missing: one,
        event: null,
        children: [],
        notes: [],
        start: Math.min(from, until),
        end: Math.max(from, until),
        parent: null,
    };
    const name = flow?.stages.find((stage) => stage.id === one.from_stage)?.name;
    const before = [...spans.values()]
        .filter((other) => other.event && other.event.name === name)
        .at(-1);
    // Where a child names it, it is that child's parent; else it follows the stage before it.
    const child =
        one.span_id &&
        [...spans.values()].find((other) => other.event?.parent_span_id === one.span_id);
    if (child && roots.includes(child)) {
        roots.splice(roots.indexOf(child), 1);
        child.parent = span;
        span.children.push(child);
        span.end = Math.max(span.start, child.start);
    }
    spans.set(span.id, span);
    if (before) {
        span.parent = before;
        before.children.push(span);
    } else roots.push(span);
}

/** The stages that come after one, however far. */
export function following(flow, id) {
    const found = new Set();
    const ahead = [id];
    while (ahead.length) {
        const near = ahead.pop();
        for (const stage of flow.stages)
            if (stage.after.includes(near) && !found.has(stage.id)) {
                found.add(stage.id);
                ahead.push(stage.id);
            }
    }
    return found;
}

/** The rows in order, without those below a closed span: [{span, depth}]. */
export function rows(roots, closed) {
    const found = [];
    const stack = roots.map((span) => ({ span, depth: 0 })).reverse();
    while (stack.length) {
        const row = stack.pop();
        found.push(row);
        if (closed.has(row.span.id)) continue;
        for (let at = row.span.children.length - 1; at >= 0; at--)
            stack.push({ span: row.span.children[at], depth: row.depth + 1 });
    }
    return found;
}

/**
 * Where the note of a bar stands: "before" it, "behind" it, or "within", where neither has room.
 *
 * A note that is cut misleads: of "20.6 ms" a narrow lane leaves "20.6 m". Both are pixels of the
 * lane that are free beside the bar.
 */
export function noteSide(before, behind) {
    if (Math.max(before, behind) < NOTE_PX) return "within";
    return before > behind ? "before" : "behind";
}

/** What the rows and notes below are: spans of modules, and what is no such span. */
export function madeOf(trace) {
    const { annotations, synthetic, repeated } = trace.events_in_spans;
    return [
        counted(trace.span_count, "span"),
        annotations ? `${count(annotations)} logs, audit entries and metrics` : "",
        synthetic ? `${count(synthetic)} synthetic` : "",
        repeated ? `${count(repeated)} under a span id that came before` : "",
    ]
        .filter(Boolean)
        .join(", ");
}
