// One incident: what it is, why, who answers for it, what became of it; and the orders one can give.

import { contract, get, isAbsent } from "../api.js";
import { h, keepOpen, put, state } from "../dom.js";
import {
    count,
    counted,
    duration,
    micros,
    percent,
    plain,
    utc,
    withTimes,
    words,
} from "../format.js";
import { badge, isOver, owner, panel, recordLink, table, time, traceLink } from "../parts.js";
import { orders } from "../orders.js";
import { me } from "../session.js";

const SHOWN = 30;
const CAUSES_SHOWN = 4;

export async function show(view) {
    const [catalog, who] = await Promise.all([contract(), me()]);
    const path = `incidents/${encodeURIComponent(view.id)}`;
    let incident = await get(path, null, view.signal);
    if (!view.isCurrent()) return;
    const title = h("div", null);
    const body = h("div", null);
    const order = orders(view, () => incident, who);
    const draw = () => {
        put(title, head(incident, catalog));
        keepOpen(body, () => put(body, sections(incident)));
    };
    draw();
    put(view.main, title, order.element, body, around(view));
    const follow = async () => {
        incident = await get(path, null, view.signal);
        if (!view.isCurrent()) return;
        draw();
        order.heard(incident);
    };
    view.listen((name, data) => {
        if (name !== "incidents") return;
        const isIt = (one) => one.incident_id === incident.incident_id;
        const news = [...data.open, ...data.recent].find(isIt);
        // The state at the top says when the console is away; what is known stays readable.
        if (news && news.version > incident.version) follow().catch(() => {});
    });
}

function head(one, catalog) {
    const until = isOver(one) ? micros(one.resolved_at || one.timestamp) : Date.now() * 1000;
    return h(
        "section",
        { class: `panel incidents`, "aria-label": "Summary" },
        h("h1", null, one.title),
        h(
            "div",
            { class: "line" },
            badge(one.severity),
            badge(one.event, isOver(one) ? "over" : one.event.toLowerCase()),
            one.escalated ? badge("escalated", "critical") : null,
            one.flapping ? badge("flapping", "warn") : null,
            one.silenced ? badge("silenced", "over") : null,
            h(
                "span",
                null,
                "since ",
                time(one.opened_at),
            ),
            h(
                "strong",
                null,
                isOver(one)
                    ? `lasted ${duration(until - micros(one.opened_at))}`
                    : `${duration(until - micros(one.opened_at))} so far`,
            ),
            h("span", null, "owner ", owner(one.owner)),
            one.channel ? h("span", null, one.channel) : null,
            one.acknowledged_by ? h("span", null, `taken by ${one.acknowledged_by}`) : null,
            (one.silences ?? []).map((silence) =>
                h(
                    "span",
                    { title: silence.reason },
                    `silenced by ${silence.actor} until ${utc(silence.end)}`,
                ),
            ),
            one.merged_into
                ? h("a", { href: `/incidents/${one.merged_into}` }, "went into another incident")
                : null,
            one.split_from
                ? h("a", { href: `/incidents/${one.split_from}` }, "was part of another incident")
                : null,
            h("span", { class: "id small" }, one.incident_id),
        ),
        playbook(one.playbook, catalog),
    );
}

function playbook(name, catalog) {
    if (!name) return h("p", { class: "small" }, "The contract names no playbook for it.");
    // Events carry the text; older ones the contract's key for it.
    const text = catalog.playbooks[name] ?? name;
    const isAddress = /^https?:\/\//.test(text);
    return h(
        "p",
        null,
        h("strong", null, "Playbook: "),
        isAddress
            ? h("a", { href: text, rel: "noreferrer noopener", target: "_blank" }, text)
            : text,
    );
}

function sections(one) {
    return h(
        "div",
        { class: "columns even" },
        h(
            "div",
            { class: "wide" },
            panel("Likely causes", causes(one)),
            panel("What became of it", timeline(one)),
        ),
        h(
            "div",
            { class: "wide" },
            panel("Blast radius", radius(one)),
            panel(
                `Alerts (${count(one.alert_count)}, ${count(one.alerts_firing_now)} firing)`,
                alerts(one),
            ),
            panel("Examples", examples(one)),
        ),
    );
}

/** What the modules before and behind its place did meanwhile; asked when somebody opens it. */
function around(view) {
    const box = h("div", null, state("loading", "Adding up the spans of that time …"));
    let isAsked = false;
    const ask = async () => {
        if (isAsked) return;
        isAsked = true;
        try {
            const found = await get(
                `incidents/${encodeURIComponent(view.id)}/effects`,
                null,
                view.signal,
            );
            put(box, effects(found));
        } catch (error) {
            isAsked = false;
            if (error.name === "AbortError") return;
            const text = isAbsent(error) ? "This console does not tell effects." : error.message;
            put(box, state(isAbsent(error) ? "empty" : "error", text));
        }
    };
    return h(
        "section",
        { class: "panel", "aria-label": "Before and behind it" },
        h(
            "details",
            { ontoggle: ask },
            h("summary", null, "Before and behind it: what all modules did in this time"),
            box,
        ),
    );
}

function effects(found) {
    if (!found.modules.length) return state("empty", "No span of that time is kept.");
    const hops = (one) => (one.hops > 0 ? `${words(one.relation)}, ${one.hops}` : one.relation);
    return table(
        "Modules around the incident",
        ["Module", "Lies", "Spans", "Errors", "Fidelity", "Alerts", "Incidents"],
        found.modules.map((one) => [
            h("strong", null, one.module),
            hops(one),
            count(one.spans),
            one.errors ? h("span", { class: "lost" }, count(one.errors)) : "0",
            percent(one.fidelity_ratio),
            one.alerts.map((alert) => words(alert.kind)).join(", "),
            h(
                "span",
                { class: "chips" },
                one.incidents.map((other) =>
                    h("a", { href: `/incidents/${other.incident_id}` }, other.title),
                ),
            ),
        ]),
    );
}

function causes(one) {
    if (!one.causes.length)
        return state(
            "empty",
            "No cause is known.",
            "Nothing in the telemetry speaks for one place more than for another.",
        );
    const lines = one.causes.map((cause) => {
        const bar = h("span");
        bar.style.width = `${Math.round(cause.probability * 100)}%`;
        return h(
            "li",
            null,
            h(
                "div",
                { class: "line" },
                h(
                    "strong",
                    null,
                    `${cause.rank}. ${[cause.module, cause.component].filter(Boolean).join(".") || "elsewhere"}`,
                ),
                h("span", null, cause.name && cause.name !== cause.module ? cause.name : ""),
                badge(cause.kind, "over"),
                h("span", { class: "grow" }),
                h("span", { class: "probability", "aria-hidden": "true" }, bar),
                h("span", { class: "number" }, percent(cause.probability)),
            ),
            h(
                "ul",
                null,
                cause.evidence.map((text) => h("li", null, withTimes(text))),
            ),
        );
    });
    const rest = lines.slice(CAUSES_SHOWN);
    return [
        h("ol", { class: "causes" }, lines.slice(0, CAUSES_SHOWN)),
        rest.length
            ? h(
                  "details",
                  { "data-name": "causes" },
                  h("summary", null, `${rest.length} less likely`),
                  h("ol", { class: "causes" }, rest),
              )
            : null,
    ];
}

function timeline(one) {
    const told = one.history.map((entry) =>
        h(
            "li",
            null,
            time(entry.at),
            h(
                "span",
                null,
                entry.event ? [badge(entry.event, entry.event.toLowerCase()), " "] : null,
                entry.text === entry.event?.toLowerCase() ? "" : entry.text,
                h("span", { class: "small" }, ` v${entry.version}`),
            ),
        ),
    );
    return [
        h(
            "p",
            { class: "small" },
            "When a worker said it, by its own clock. By the time of the events, which all else here ",
            "goes by, the trouble began ",
            time(one.opened_at),
            one.resolved_at ? [" and ended ", time(one.resolved_at)] : null,
            ".",
        ),
        h("ol", { class: "timeline" }, told),
        h(
            "details",
            { "data-name": "versions" },
            h(
                "summary",
                null,
                `Versions (${count(one.versions.length)}), by the time of their events`,
            ),
            h(
                "ol",
                { class: "timeline" },
                one.versions.map((version) =>
                    h(
                        "li",
                        null,
                        time(version.timestamp),
                        h(
                            "span",
                            null,
                            `v${version.version} `,
                            badge(version.event, version.event.toLowerCase()),
                            " ",
                            badge(version.severity),
                        ),
                    ),
                ),
            ),
        ),
    ];
}

function radius(one) {
    const { records, flows, modules, downstream } = one.blast_radius;
    const list = (values) => (values.length ? values.join(", ") : "none");
    return h(
        "dl",
        { class: "facts" },
        h("dt", null, "Records"),
        h("dd", null, `${count(records)} at the worst alert`),
        h("dt", null, "Flows"),
        h("dd", null, list(flows)),
        h("dt", null, "Modules"),
        h("dd", null, list(modules)),
        h("dt", null, "Downstream"),
        h("dd", null, list(downstream)),
        h("dt", null, "Noise"),
        h(
            "dd",
            null,
            `${counted(one.alerts_in, "alert state")} came, `,
            `${count(one.alerts_suppressed)} of them said nothing new`,
        ),
    );
}

/** An event tells alerts as they were; since then some may have ended, or begun anew. */
function alerts(one) {
    const last = new Map(one.alerts_now.map((alert) => [alert.fingerprint, alert]));
    const now = one.alerts.map((alert) => ({ ...alert, ...last.get(alert.fingerprint) }));
    const lines = now.map((alert) =>
        h(
            "li",
            null,
            h(
                "details",
                null,
                h(
                    "summary",
                    null,
                    h(
                        "span",
                        { class: "line" },
                        badge(alert.severity || "WARN"),
                        badge(alert.state, alert.state === "FIRING" ? "error" : "over"),
                        h(
                            "span",
                            { class: "grow" },
                            `${words(alert.kind)} · ${alert.name || alert.module}`,
                        ),
                    ),
                ),
                h("p", null, withTimes(alert.explanation)),
                h(
                    "dl",
                    { class: "facts" },
                    h("dt", null, "In this incident because"),
                    h("dd", null, alert.joined_because),
                    h("dt", null, "Firing since"),
                    h("dd", null, time(alert.firing_since)),
                    h("dt", null, "Last seen"),
                    h("dd", null, time(alert.last_seen)),
                    h("dt", null, "Value"),
                    h(
                        "dd",
                        null,
                        `${plain(alert.value)} ${alert.unit}, threshold ${plain(alert.threshold)}`,
                    ),
                    h("dt", null, "Place"),
                    h(
                        "dd",
                        null,
                        alert.from_stage
                            ? `${alert.from_stage} → ${alert.to_stage}`
                            : [alert.module, alert.component].filter(Boolean).join(".") || "–",
                    ),
                    alert.rule_id
                        ? [
                              h("dt", null, "Rule"),
                              h("dd", null, `${alert.rule_id} v${alert.rule_version}`),
                          ]
                        : null,
                ),
            ),
        ),
    );
    if (!lines.length) return state("empty", "It has no alerts.");
    const [first, rest] = [lines.slice(0, 5), lines.slice(5)];
    return [
        h("ul", null, first),
        rest.length
            ? h(
                  "details",
                  { "data-name": "alerts" },
                  h("summary", null, `${rest.length} more alerts`),
                  h("ul", null, rest),
              )
            : null,
    ];
}

function examples(one) {
    const { trace_ids: traces, record_ids: records } = one;
    if (!traces.length && !records.length)
        return state("empty", "It names no trace and no record.");
    return [
        traces.length
            ? [
                  h("h3", null, "Traces"),
                  h(
                      "div",
                      { class: "chips" },
                      traces.slice(0, SHOWN).map((id) => traceLink(id)),
                      traces.length > SHOWN ? `and ${traces.length - SHOWN} more` : null,
                  ),
              ]
            : null,
        records.length
            ? [
                  h("h3", null, "Records"),
                  h(
                      "div",
                      { class: "chips" },
                      records.slice(0, SHOWN).map(recordLink),
                      records.length > SHOWN ? `and ${records.length - SHOWN} more` : null,
                  ),
              ]
            : null,
    ];
}
