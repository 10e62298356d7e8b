// Traces: search by time, flow, module, status, missing stage, duration.

import { contract, get } from "../api.js";
import { broken, go } from "../app.js";
import { address, arrows, choice, field, h, put, state } from "../dom.js";
import { count, duration, moment } from "../format.js";
import { badge, panel, recordLink, scrolled, showMore } from "../parts.js";
import { RANGES, span } from "../range.js";

const PAGE = 100;
const FILTERS = ["flow", "module", "status", "missing_stage", "batch_id", "correlation_id"];

export async function show(view) {
    const catalog = await contract();
    const { query } = view;
    const results = h("div");
    put(
        view.main,
        h("h1", { class: "hidden" }, "Traces"),
        panel("Search traces", form(query, catalog)),
        results,
    );
    const asked = {
        ...span(query),
        ...Object.fromEntries(FILTERS.map((name) => [name, query[name]])),
        limit: PAGE,
    };
    if (query.min_ms) asked.min_duration_us = Math.round(Number(query.min_ms) * 1000);
    put(results, state("loading", "Searching …"));
    try {
        const limit = view.rows(PAGE);
        const found = await get("traces", { ...asked, limit }, view.signal);
        if (view.isCurrent()) list(view, results, asked, found);
    } catch (error) {
        if (error.name !== "AbortError") put(results, broken(error));
    }
}

function form(query, catalog) {
    const flows = catalog.flows.map((flow) => flow.id);
    const modules = catalog.modules.map((one) => one.name);
    const stages = [
        ...new Set(catalog.flows.flatMap((flow) => flow.stages.map((stage) => stage.id))),
    ];
    const given = (name) =>
        h("input", { name, value: query[name] ?? "", spellcheck: "false", maxlength: 200 });
    const pick = (name, values) =>
        values.length ? choice(name, values, query[name]) : given(name);
    const submit = (event) => {
        event?.preventDefault();
        go(address("/traces", Object.fromEntries(new FormData(element))));
    };
    const element = h(
        "form",
        {
            class: "filters",
            onsubmit: submit,
            onchange: (event) => event.target.matches("select") && submit(),
        },
        field(
            "Within the last",
            choice(
                "range",
                Object.keys(RANGES),
                query.start ? "" : query.range || "1h",
                query.start ? "as below" : null,
            ),
        ),
        field("Flow", pick("flow", flows)),
        field("Module", pick("module", modules)),
        field(
            "Status",
            choice("status", ["COMPLETE", "INCOMPLETE", "BROKEN", "TRUNCATED"], query.status),
        ),
        field("Missing stage", pick("missing_stage", stages)),
        field(
            "Took at least (ms)",
            h("input", {
                name: "min_ms",
                type: "number",
                min: 0,
                step: "any",
                value: query.min_ms ?? "",
            }),
        ),
        query.batch_id ? field("Batch", given("batch_id")) : null,
        query.correlation_id ? field("Correlation id", given("correlation_id")) : null,
        query.start ? [field("From", given("start")), field("Until", given("end"))] : null,
        h("button", { class: "main" }, "Search"),
        h("a", { href: "/traces" }, "Reset"),
    );
    // A range that is chosen replaces start and end.
    element.elements.range.addEventListener("change", () => {
        for (const name of ["start", "end"])
            if (element.elements[name]) element.elements[name].value = "";
    });
    return element;
}

function list(view, box, asked, first) {
    if (!first.traces.length) {
        put(
            box,
            panel(
                "Traces",
                state(
                    "empty",
                    "No trace fits.",
                    "Widen the time, or take a condition away. A trace is found by the time of its start.",
                ),
            ),
        );
        return;
    }
    const longest = Math.max(1, ...first.traces.map((one) => one.duration_us));
    const body = h("tbody");
    const shown = h("span", { class: "small" });
    const more = showMore(async () => {
        const found = await get("traces", { ...asked, continuation_token: token }, view.signal);
        token = found.continuation_token;
        add(found.traces);
        view.note(body.children.length);
    });
    let token = first.continuation_token;
    const add = (traces) => {
        body.append(...traces.map((one) => line(one, longest)));
        const rest = token ? "there are more" : "these are all";
        shown.textContent = `${count(body.children.length)} shown, ${rest}`;
        more.is(Boolean(token));
    };
    add(first.traces);
    arrows(body, "a.row");
    put(
        box,
        h(
            "section",
            { class: "panel", "aria-label": "Traces" },
            h("div", { class: "line head" }, h("h2", null, "Traces"), shown),
            scrolled("Traces found", COLUMNS, body),
            more.element,
        ),
    );
}

const COLUMNS = [
    "Start (UTC)",
    "Trace",
    "Status",
    "Flow",
    "Duration",
    "Spans",
    "Missing",
    "Modules",
    "Record",
];

function line(one, longest) {
    const bar = h("span", { class: "bar-of" });
    bar.style.width = `${(5 * one.duration_us) / longest}rem`;
    const records = one.record_ids.slice(0, 1).map(recordLink);
    return h(
        "tr",
        null,
        h("td", null, h("time", { datetime: one.start, title: one.start }, moment(one.start))),
        h(
            "td",
            null,
            h("a", { href: `/traces/${one.trace_id}`, class: "id row" }, one.trace_id.slice(0, 16)),
        ),
        h(
            "td",
            null,
            badge(one.status),
            one.revision > 1 ? h("span", { class: "small" }, ` r${one.revision}`) : null,
        ),
        h("td", null, one.flow || "–"),
        h("td", null, bar, duration(one.duration_us)),
        h(
            "td",
            null,
            count(one.span_count),
            one.error_count ? h("span", { class: "unowned" }, `${one.error_count} err`) : null,
        ),
        h("td", null, one.missing_stages.join(", ")),
        h("td", { class: "small" }, one.modules.join(" ")),
        h("td", null, records, one.record_ids.length > 1 ? ` +${one.record_ids.length - 1}` : null),
    );
}
