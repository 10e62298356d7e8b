// One trace: the waterfall, what is missing and why, revisions, links, logs beside it.

import { contract, get } from "../api.js";
import { go, remember, say } from "../app.js";
import { address, field, h, put, state } from "../dom.js";
import { CAUSES, count, counted, duration, micros, percent, words } from "../format.js";
import {
    actor,
    badge,
    owner,
    ownerOf,
    panel,
    recordLink,
    table,
    time,
    traceLink,
} from "../parts.js";
import { build, isSynthetic, madeOf } from "../tree.js";
import { moduleOf, waterfall } from "../waterfall.js";

const REVISION_MS = 15_000;
const ADDRESS_MS = 150;
const AWAITED_US = 900e6;
const WATCHED_SPANS = 2_000;

export async function show(view) {
    const [trace, catalog] = await Promise.all([
        get(`traces/${encodeURIComponent(view.id)}`, null, view.signal),
        contract(),
    ]);
    if (!view.isCurrent()) return;
    const flow = catalog.flows.find((one) => one.id === trace.flow);
    const tree = build(trace, flow);
    const modules = [...new Set([...tree.spans.values()].map(moduleOf))];
    const chosen = h("div");
    let choosing;
    view.onLeave(() => clearTimeout(choosing));
    const choose = (span) => {
        put(chosen, details(span, trace));
        // A key held down would change the address more often than browsers like.
        clearTimeout(choosing);
        choosing = setTimeout(() => remember({ span: span.id }), ADDRESS_MS);
    };
    const later = h("div", { role: "status" });
    put(
        view.main,
        head(trace),
        later,
        trace.missing.length ? panel("What is missing", missing(trace, flow)) : null,
        h(
            "div",
            { class: "columns" },
            h(
                "div",
                { class: "wide" },
                h(
                    "section",
                    { class: "panel", "aria-label": "Waterfall" },
                    h("div", { class: "line head" }, h("h2", null, "Waterfall"), key(modules)),
                    tree.spans.size
                        ? waterfall(tree, modules, choose, view.query.span)
                        : state("empty", "The trace has no spans."),
                ),
                view.query.compare ? await compared(trace, view) : null,
                beside(trace, tree),
            ),
            h(
                "div",
                { class: "side" },
                h("section", { class: "panel", "aria-label": "Chosen span" }, chosen),
                panel("Revisions", revisions(trace)),
                panel("Compare", compareForm(view)),
            ),
        ),
    );
    watch(view, trace, later);
}

function head(trace) {
    const records = [...new Set(trace.spans.map((event) => event.record_id).filter(Boolean))];
    return h(
        "div",
        { class: "panel" },
        h("h1", null, h("span", { class: "id" }, trace.trace_id)),
        h(
            "div",
            { class: "line" },
            badge(trace.status),
            h("span", null, trace.flow ? `flow ${trace.flow}` : "judged by structure alone"),
            h(
                "span",
                null,
                time(trace.start),
            ),
            h("strong", null, duration(trace.duration_us)),
            h("span", null, madeOf(trace)),
            trace.error_count ? badge(counted(trace.error_count, "error"), "error") : null,
            trace.orphan_count
                ? badge(`${count(trace.orphan_count)} without a parent`, "warn")
                : null,
            trace.evicted_count
                ? badge(`${count(trace.evicted_count)} left out: beyond the bounds of a trace`, "warn")
                : null,
            h(
                "span",
                { class: "small" },
                `closed by ${trace.closed_by}, revision ${trace.revision}`,
            ),
            h(
                "span",
                { class: "chips" },
                records.slice(0, 4).map(recordLink),
                records.length > 4 ? `and ${records.length - 4} more records` : null,
            ),
            h("button", { type: "button", onclick: () => copy(location.href) }, "Copy link"),
        ),
    );
}

async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        say("The link is copied.");
    } catch {
        say(text);
    }
}

/** A line for each place where something was lost: what stands behind it lacks as well. */
function missing(trace, flow) {
    const places = new Map();
    for (const one of trace.missing) {
        const place = [one.from_stage, one.to_stage, one.cause].join("\n");
        places.set(place, [...(places.get(place) ?? []), one]);
    }
    const nameOf = (one) => one.name || one.to_stage || one.span_id;
    return h(
        "ul",
        { class: "bullets" },
        [...places.values()].map(([first, ...behind]) =>
            h(
                "li",
                null,
                h("strong", { class: "lost" }, nameOf(first)),
                " of ",
                first.module || "an unknown module",
                flow ? [" (owner ", owner(ownerOf(flow, first.to_stage)), ")"] : null,
                behind.length
                    ? [", and with it ", h("span", { class: "lost" }, behind.map(nameOf).join(", "))]
                    : null,
                first.from_stage ? `, lost between ${first.from_stage} and ${first.to_stage}` : "",
                ": ",
                CAUSES[first.cause] ?? words(first.cause.toLowerCase()),
                " ",
                badge(first.cause, "warn"),
            ),
        ),
    );
}

function key(modules) {
    return h(
        "ul",
        { class: "chips small grow" },
        modules.map((module, at) =>
            h("li", null, h("span", { class: `swatch m${at % 6}` }), ` ${module}`),
        ),
        h("li", null, "▭ outlined: critical path"),
        h("li", null, "▨ hatched: missing"),
        h("li", null, "┄ dotted: synthetic link"),
    );
}

function facts(pairs) {
    return h(
        "dl",
        { class: "facts" },
        pairs
            .filter(
                ([, value]) =>
                    value !== "" && value !== null && value !== undefined && value !== false,
            )
            .map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
    );
}

function details(span, trace) {
    if (span.missing) {
        const one = span.missing;
        return [
            h("h2", null, `${one.name || one.to_stage || one.span_id}: missing`),
            facts([
                ["Why", CAUSES[one.cause] ?? one.cause],
                ["Cause", one.cause],
                ["Module", one.module],
                ["Component", one.component],
                ["Span id", one.span_id && h("span", { class: "id" }, one.span_id)],
                ["Lost between", one.from_stage && `${one.from_stage} and ${one.to_stage}`],
                [
                    "Others",
                    h(
                        "a",
                        { href: address("/traces", { missing_stage: one.to_stage, range: "1h" }) },
                        "traces that lack it",
                    ),
                ],
            ]),
        ];
    }
    const { event } = span;
    return [
        h("h2", null, event.name),
        facts([
            ["Module", event.module],
            ["Component", event.component],
            ["Status", event.status],
            ["Starts", `${event.timestamp.slice(11, 26)} UTC`],
            ["Duration", duration(event.duration_us)],
            ["On the critical path", span.critical ? onPath(span.critical, trace) : ""],
            ["Own time", span.children.length ? duration(ownTime(span)) : ""],
            ["Skew", span.skew ? `starts ${duration(span.skew)} before its parent` : ""],
            ["Kind", event.span_kind],
            ["Operation", event.operation],
            ["Actor", event.actor && actor(event.actor)],
            ["Span id", h("span", { class: "id" }, event.span_id)],
            ["Parent", event.parent_span_id && h("span", { class: "id" }, event.parent_span_id)],
            ["Record", event.record_id && recordLink(event.record_id)],
            [
                "Batch",
                event.batch_id &&
                    h(
                        "a",
                        {
                            class: "id",
                            href: address("/traces", { batch_id: event.batch_id, range: "7d" }),
                        },
                        event.batch_id,
                    ),
            ],
            [
                "Correlation",
                event.correlation_id &&
                    h(
                        "a",
                        {
                            class: "id",
                            href: address("/traces", {
                                correlation_id: event.correlation_id,
                                range: "7d",
                            }),
                        },
                        event.correlation_id,
                    ),
            ],
            [
                "Synthetic",
                isSynthetic(event)
                    ? "written by Spanloom to join what a restarted context parted"
                    : "",
            ],
            [
                "Links",
                event.links.length
                    ? h(
                          "ul",
                          null,
                          event.links
                              .slice(0, 50)
                              .map((link) => h("li", null, traceLink(link.trace_id))),
                          event.links.length > 50
                              ? h("li", null, `and ${event.links.length - 50} more`)
                              : null,
                      )
                    : "",
            ],
            ...Object.entries(event.dimensions).map(([name, value]) => [name, value]),
        ]),
        span.notes.length ? [h("h3", null, "Told at this span"), notes(span.notes)] : null,
    ];
}

/** What a span adds to the trace's length, and how long the record had lain before it. */
function onPath({ own_us: own, waited_us: waited }, trace) {
    const share = trace.duration_us ? `, ${percent(own / trace.duration_us)} of the trace` : "";
    const before = waited ? `, after a wait of ${duration(waited)}` : "";
    return `${duration(own)} of its own${share}${before}`;
}

/** What none of a span's children covers. */
export function ownTime(span) {
    let covered = 0;
    let until = span.start;
    for (const child of span.children.filter((one) => !one.missing)) {
        const from = Math.max(child.start, until);
        const to = Math.min(child.end, span.end);
        if (to > from) {
            covered += to - from;
            until = to;
        }
    }
    return span.end - span.start - covered;
}

function notes(events) {
    return h(
        "ul",
        { class: "bullets" },
        events.map((event) =>
            h(
                "li",
                null,
                h(
                    "span",
                    { class: "small" },
                    `${event.timestamp.slice(11, 23)} ${event.event_type} `,
                ),
                event.severity === "INFO" ? null : badge(event.severity),
                " ",
                event.name,
                event.value !== null ? ` = ${event.value} ${event.unit}` : "",
                event.actor ? [" by ", actor(event.actor)] : "",
                h(
                    "span",
                    { class: "small" },
                    ` ${Object.entries(event.dimensions)
                        .map(([name, value]) => `${name}=${value}`)
                        .join(" ")}`,
                ),
            ),
        ),
    );
}

function beside(trace, tree) {
    const events = trace.spans.filter((event) => event.event_type !== "TRACE");
    if (!events.length) return null;
    return h(
        "section",
        { class: "panel", "aria-label": "Logs, audit and metrics" },
        h(
            "details",
            { open: events.length <= 20 },
            h(
                "summary",
                null,
                `Logs, audit and metrics of the trace (${events.length}`,
                tree.loose.length ? `, ${tree.loose.length} at no span)` : ")",
            ),
            notes(events.slice(0, 500)),
        ),
    );
}

function revisions(trace) {
    return h(
        "ol",
        { class: "timeline" },
        trace.revisions.map((one) =>
            h(
                "li",
                null,
                time(one.appended),
                h(
                    "span",
                    null,
                    `r${one.revision} `,
                    badge(one.status),
                    ` ${counted(one.span_count, "span")}`,
                    one.revision > 1
                        ? h("span", { class: "small" }, " amended: something came later")
                        : h("span", { class: "small" }, ` closed by ${one.closed_by}`),
                ),
            ),
        ),
    );
}

function compareForm(view) {
    const input = h("input", {
        name: "compare",
        value: view.query.compare ?? "",
        placeholder: "another trace id",
        maxlength: 64,
        spellcheck: "false",
    });
    return h(
        "form",
        {
            class: "filters",
            onsubmit: (event) => {
                event.preventDefault();
                go(address(`/traces/${view.id}`, { compare: input.value.trim() }));
            },
        },
        field("Trace", input),
        h("button", null, "Compare"),
    );
}

async function compared(trace, view) {
    let other;
    try {
        other = await get(`traces/${encodeURIComponent(view.query.compare)}`, null, view.signal);
    } catch (error) {
        return panel(
            "Compared",
            state("error", `The other trace cannot be shown: ${error.message}`),
        );
    }
    const names = [...new Set([...trace.stages, ...other.stages].map((one) => one.stage))];
    const of = (one, name) => one.stages.find((stage) => stage.stage === name);
    const lines = names.map((name) => {
        const [a, b] = [of(trace, name), of(other, name)];
        const offset = (one, stage) =>
            stage ? duration(micros(stage.start) - micros(one.start)) : "–";
        return [
            name,
            offset(trace, a),
            a ? duration(a.duration_us) : h("span", { class: "lost" }, "not there"),
            offset(other, b),
            b ? duration(b.duration_us) : h("span", { class: "lost" }, "not there"),
            a && b
                ? `${b.duration_us >= a.duration_us ? "+" : ""}${duration(b.duration_us - a.duration_us)}`
                : "",
        ];
    });
    return panel(
        "Compared",
        h(
            "p",
            null,
            "With ",
            traceLink(other.trace_id, true),
            " ",
            badge(other.status),
            ` ${duration(other.duration_us)}, `,
            `${duration(other.duration_us - trace.duration_us)} longer than this one.`,
        ),
        lines.length
            ? table(
                  "Stages of both",
                  ["Stage", "Begins", "Takes", "Other begins", "Other takes", "Difference"],
                  lines,
              )
            : state("empty", "Neither trace has stages of a contract."),
    );
}

/** Say when a later revision is there: a late span came. */
function watch(view, trace, box) {
    const timer = setInterval(async () => {
        // Nobody looks, nothing more is awaited, or looking would cost too much.
        const age = Date.now() * 1e3 - micros(trace.end);
        if (document.hidden || age > AWAITED_US || trace.spans.length > WATCHED_SPANS) return;
        try {
            const now = await get(`traces/${trace.trace_id}`, null, view.signal);
            if (view.isCurrent() && now.revision > trace.revision)
                put(
                    box,
                    state(
                        "stale",
                        `Revision ${now.revision} is there: something came late.`,
                        h(
                            "button",
                            {
                                type: "button",
                                onclick: () => go(location.pathname + location.search),
                            },
                            "Show it",
                        ),
                    ),
                );
        } catch {
            // The state at the top says when the console is away; the trace stays readable.
        }
    }, REVISION_MS);
    view.onLeave(() => clearInterval(timer));
}
