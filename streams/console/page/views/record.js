// Record: any id, what happened to it in order, and where it came from and went.

import { Failure, get, isAbsent, offers } from "../api.js";
import { broken, go, say } from "../app.js";
import { address, field, h, put, state, to } from "../dom.js";
import { count, counted, duration, moment } from "../format.js";
import { draw as graph } from "../graph.js";
import { actor, badge, incidentLine, panel, scrolled, time, traceLink } from "../parts.js";
import { resolve } from "../search.js";

export async function show(view) {
    put(
        view.main,
        h(
            "h1",
            null,
            view.id ? h("span", null, "Record ", h("span", { class: "id" }, view.id)) : "Record",
        ),
        searchForm(view.id),
    );
    if (!view.id) {
        view.main.append(
            state(
                "empty",
                "Give an id: of a record, trace, batch, correlation or incident.",
                "Ids stand on every trace and in every incident; / searches from anywhere.",
            ),
        );
        return;
    }
    const history = h("div", null, state("loading", "Looking it up …"));
    const lineage = h("div", null, state("loading", "Asking for the lineage …"));
    view.main.append(history, lineage);
    await Promise.all([showHistory(view, history), showLineage(view, lineage)]);
}

function searchForm(id) {
    const input = h("input", {
        name: "id",
        value: id,
        maxlength: 200,
        spellcheck: "false",
        size: 40,
    });
    return h(
        "form",
        {
            class: "panel filters",
            onsubmit: async (event) => {
                event.preventDefault();
                const found = await resolve(input.value).catch((error) => ({
                    said: error.message,
                }));
                if (found.url) go(found.url);
                say(found.said);
            },
        },
        field("Id", input),
        h("button", { class: "main" }, "Look it up"),
    );
}

async function showHistory(view, box) {
    try {
        const found = await get(`records/${encodeURIComponent(view.id)}`, null, view.signal);
        if (view.isCurrent()) put(box, traces(found), incidents(found), entries(found));
    } catch (error) {
        if (error.name === "AbortError") return;
        put(
            box,
            isAbsent(error)
                ? panel(
                      "History",
                      state(
                          "empty",
                          "Nothing is kept of a record of that id.",
                          "It may be older than the archive, or its events carry no record id.",
                      ),
                  )
                : broken(error),
        );
    }
}

function traces(found) {
    return panel(
        `Traces (${count(found.traces.length)})`,
        h(
            "ul",
            { class: "bullets" },
            found.traces.map((one) =>
                h(
                    "li",
                    null,
                    traceLink(one.trace_id, true),
                    " ",
                    badge(one.status),
                    ` ${moment(one.start)} UTC`,
                    one.missing.length
                        ? h(
                              "span",
                              { class: "lost" },
                              ` lacks ${[...new Set(one.missing.map((gap) => gap.name || gap.to_stage))].join(", ")}`,
                          )
                        : null,
                ),
            ),
        ),
    );
}

function incidents(found) {
    if (!found.incidents.length) return null;
    return panel(
        `Incidents that name it (${count(found.incidents.length)})`,
        h("ul", { class: "incidents" }, found.incidents.map(incidentLine)),
    );
}

const COLUMNS = ["Time (UTC)", "What", "Module", "Entry", "Took", "Who", "Trace", "More"];

function entries(found) {
    return panel(
        `History (${counted(found.entries.length, "entry", "entries")}${found.is_cut ? ", there are more" : ""})`,
        scrolled("History", COLUMNS, h("tbody", null, found.entries.map(line))),
    );
}

function line(event) {
    return h(
        "tr",
        null,
        h(
            "td",
            null,
            time(event.timestamp, event.timestamp.slice(5, 23).replace("T", " ")),
        ),
        h("td", null, event.event_type.toLowerCase()),
        h(
            "td",
            null,
            event.module,
            h("span", { class: "small" }, ` ${event.component}`),
        ),
        h(
            "td",
            null,
            event.name,
            " ",
            event.status === "ERROR" ? badge("error") : null,
            event.event_type !== "TRACE" && event.severity !== "INFO"
                ? badge(event.severity)
                : null,
        ),
        h(
            "td",
            { class: "number" },
            event.event_type === "TRACE"
                ? duration(event.duration_us)
                : event.value === null
                  ? ""
                  : `${event.value} ${event.unit}`,
        ),
        h("td", null, actor(event.actor)),
        h(
            "td",
            null,
            event.trace_id
                ? h(
                      "a",
                      {
                          class: "id",
                          title: event.trace_id,
                          href: address(`/traces/${event.trace_id}`, { span: event.span_id }),
                      },
                      event.trace_id.slice(0, 8),
                  )
                : h("span", { class: "small" }, "none"),
        ),
        h(
            "td",
            { class: "small" },
            Object.entries(event.dimensions)
                .map(([name, value]) => `${name}=${value}`)
                .join(" "),
        ),
    );
}

async function showLineage(view, box) {
    const direction = view.query.direction === "forward" ? "forward" : "backward";
    const tabs = h(
        "div",
        { class: "tabs links", role: "group", "aria-label": "Direction" },
        ["backward", "forward"].map((name) => {
            const link = to(location.pathname, { direction: name }, name);
            if (name === direction) link.setAttribute("aria-current", "true");
            return link;
        }),
    );
    try {
        if (!(await offers("/lineage/{record_id}"))) throw new Failure(404, "not offered");
        const found = await get(
            `lineage/${encodeURIComponent(view.id)}`,
            { direction },
            view.signal,
        );
        if (view.isCurrent()) put(box, panel("Lineage", tabs, summary(found), graph(found)));
    } catch (error) {
        if (error.name === "AbortError") return;
        put(
            box,
            panel(
                "Lineage",
                tabs,
                isAbsent(error)
                    ? state(
                          "empty",
                          "There is no lineage of this record.",
                          "No operation of it is kept, or this console does not answer such questions.",
                      )
                    : broken(error),
            ),
        );
    }
}

function summary(found) {
    const list = (values) =>
        values?.length
            ? values
                  .map((one) => (typeof one === "string" ? one : (one.label ?? one.name ?? one.id)))
                  .join(", ")
            : "none known";
    return h(
        "dl",
        { class: "facts" },
        h("dt", null, "Source system"),
        h("dd", null, found.source_system || "not known"),
        h("dt", null, "Taken in"),
        h("dd", null, found.ingested_at ? `${moment(found.ingested_at)} UTC` : "not known"),
        h("dt", null, "Transformations"),
        h("dd", null, list(found.transformations)),
        h("dt", null, "Enriched from"),
        h("dd", null, list(found.enrichment_sources)),
        h("dt", null, "Delivered to"),
        h("dd", null, list(found.destinations)),
    );
}
