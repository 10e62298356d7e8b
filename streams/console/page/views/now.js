// Now: the map of each flow, what is open, how fast the budget burns, how far behind the console is.

import { contract } from "../api.js";
import { address, arrows, h, keepFocus, put, state } from "../dom.js";
import {
    CAUSES,
    clock,
    count,
    duration,
    isoOf,
    micros,
    percent,
    rate,
    roughly,
    words,
} from "../format.js";
import { LAG_MAX, ORDER, openIncidents, unknown } from "../open.js";
import { incidentLine, owner, ownerOf, panel, tile } from "../parts.js";
import { draw, edgeKey, grade } from "../pipeline.js";
import { remember } from "../app.js";
import { strip } from "../health.js";
import { trend } from "../trend.js";
import * as live from "../live.js";

export async function show(view) {
    const catalog = await contract();
    if (!view.isCurrent()) return;
    const tiles = h("div", { class: "tiles" });
    const stale = h("div", { role: "status" });
    const incidents = h("ul", { class: "incidents" });
    const losing = h("div");
    const flows = h("div");
    const health = strip();
    arrows(incidents, "a");
    put(
        view.main,
        h("h1", { class: "hidden" }, "Now"),
        stale,
        tiles,
        health.element,
        h(
            "div",
            { class: "overview" },
            h("div", { class: "o-map" }, flows),
            h(
                "div",
                { class: "o-open" },
                h(
                    "section",
                    { class: "panel", "aria-label": "Open incidents" },
                    h(
                        "h2",
                        null,
                        "Open incidents",
                        h("a", { href: "/incidents", class: "more" }, "all"),
                    ),
                    incidents,
                ),
            ),
            h("div", { class: "o-rest" }, panel("Edges that lose", losing)),
            h("div", { class: "o-trend" }),
        ),
    );

    const map = maps(view, catalog, flows);
    const chart = trend(view);
    view.main.querySelector(".o-trend").append(chart.element);

    let failing = "";
    let listedWhy = "";
    const warn = () => {
        const next = failing ? trouble() : staleness(live.last("fidelity"));
        // Said anew only when it changes: it is read aloud.
        if ((next?.textContent ?? "") !== stale.textContent) put(stale, next);
    };
    const tell = (name, data) => {
        if (name === "trouble") failing = data.source;
        else if (name === failing) failing = "";
        if (name === "fidelity") {
            map(data);
            chart.tell(data);
        }
        if (name === "pipeline") health.tell(data);
        const why = unknown(live.last("health"));
        const open = live.last("incidents");
        if (open && (name === "incidents" || why !== listedWhy))
            keepFocus(incidents, () => put(incidents, listed(open, why)));
        const windows = live.last("fidelity");
        if (name === "fidelity" || (why !== listedWhy && !windows?.window_start))
            keepFocus(losing, () => put(losing, lost(windows, catalog, why)));
        if (why !== listedWhy) chart.again();
        listedWhy = why;
        warn();
        put(tiles, figures());
    };
    put(incidents, h("li", null, state("loading", "Waiting for the first news …")));
    put(losing, lost(live.last("fidelity"), catalog, unknown(live.last("health"))));
    put(tiles, figures());
    view.listen(tell);
    const timer = setInterval(() => {
        warn();
        put(tiles, figures());
    }, 1_000);
    view.onLeave(() => clearInterval(timer));
}

function trouble() {
    return state(
        "error",
        "The archive could not be asked.",
        "What is shown may be old; the console's log says why.",
    );
}

function maps(view, catalog, box) {
    if (!catalog.flows.length) {
        put(
            box,
            panel(
                "Pipeline",
                state(
                    "empty",
                    "The console was given no contract, so there is no map.",
                    "Start it with --contract FILE, the one that the workers use.",
                ),
            ),
        );
        return () => {};
    }
    const chosen = catalog.flows.some((flow) => flow.id === view.query.flow)
        ? view.query.flow
        : catalog.flows[0].id;
    let drawn;
    const place = h("div", {
        class: "scroll map-scroll",
        tabindex: 0,
        role: "region",
        "aria-label": "Pipeline map",
    });
    const pick = (id) => {
        drawn = draw(catalog.flows.find((flow) => flow.id === id));
        put(place, drawn.element);
        for (const button of buttons) button.setAttribute("aria-pressed", button.value === id);
        const data = live.last("fidelity");
        if (data) paint(data);
    };
    const buttons = catalog.flows.map((flow) =>
        h(
            "button",
            {
                type: "button",
                value: flow.id,
                onclick: () => {
                    remember({ flow: flow.id });
                    pick(flow.id);
                },
            },
            flow.id,
        ),
    );
    const covered = h("span", { class: "small grow" });
    const paint = (data) => {
        drawn.colour(byEdge(data), data.span_us);
        covered.textContent = data.window_start
            ? `the last ${duration(data.span_us)} of event time, until ${clock(endOf(data))} UTC`
            : "";
    };
    put(
        box,
        h(
            "section",
            { class: "panel", "aria-label": "Pipeline" },
            h(
                "div",
                { class: "line head" },
                h("h2", null, "Pipeline"),
                h("div", { class: "tabs", role: "group", "aria-label": "Flow" }, buttons),
                covered,
                legend(),
            ),
            place,
        ),
    );
    pick(chosen);
    return paint;
}

function legend() {
    const kinds = [
        ["well", "within its objective"],
        ["worn", "below it"],
        ["lossy", "burning fast"],
        ["broken", "under 90 %"],
        ["idle", "nothing to judge"],
    ];
    return h(
        "ul",
        { class: "legend" },
        kinds.map(([name, text]) => h("li", { class: name }, text)),
    );
}

function byEdge(data) {
    return new Map(
        data.scopes
            .filter((scope) => scope.kind === "edge")
            .map((scope) => [edgeKey(scope.flow, scope.from_stage, scope.to_stage), scope]),
    );
}

const endOf = (data) => isoOf(micros(data.window_start) + data.window_us);

const total = (data) => data?.scopes.find((scope) => scope.kind === "total");

function figures() {
    const data = live.last("fidelity");
    const health = live.last("health");
    const all = total(data);
    const is = all ? grade(all, all.slo_ratio) : "idle";
    const burn = all ? Math.max(all.burn_rate_short ?? 0, 0) : null;
    const none = unknown(health) || "nothing to judge";
    const unread = health ? Object.values(health.unreadable).reduce((sum, one) => sum + one, 0) : 0;
    return [
        tile(
            "Record fidelity",
            all?.ratio === undefined || !all ? "–" : percent(all.ratio),
            all ? (all.slo_ratio ? `objective ${percent(all.slo_ratio)}` : "no objective") : none,
            is,
        ),
        tile(
            "Budget burn",
            all ? `${rate(burn)}×` : "–",
            all ? `long window ${rate(all.burn_rate_long)}×` : none,
            burn === null ? "idle" : burn > 14.4 ? "broken" : burn > 1 ? "worn" : "well",
        ),
        tile(
            "Traces",
            all && data.span_us ? `${rate((all.expected * 1e6) / data.span_us)}/s` : "–",
            all
                ? `${count(all.expected - all.observed)} incomplete of ${count(all.expected)}` +
                      (all.traces_unsampled ? `, ${count(all.traces_unsampled)} not sampled` : "")
                : none,
        ),
        tile("Open incidents", ...openIncidents(live.last("incidents"), health, isFresh(data))),
        tile(
            "Console lag",
            health && !health.waits_for ? count(health.lag_records) : "–",
            health
                ? health.waits_for
                    ? `waits for ${health.waits_for}`
                    : unread
                      ? `records to read; ${count(unread)} were unreadable`
                      : "records to read"
                : "",
            health?.waits_for || health?.lag_records > LAG_MAX ? "lossy" : "well",
        ),
    ];
}

const LISTED = 20;

/** The gravest first, and of those alike the newest. */
function byWeight(a, b) {
    const [one, other] = [a, b].map((incident) => ORDER.indexOf(incident.severity));
    return one - other || (a.opened_at < b.opened_at) - (a.opened_at > b.opened_at);
}

function listed(data, why) {
    if (data.open.length) {
        const left = data.open.length - LISTED;
        const all = h("a", { href: "/incidents?state=open" }, "show all that are open");
        const told = `and ${data.is_more ? "at least " : ""}${count(left)} more: `;
        const more = h("li", null, h("span", { class: "small" }, told), all);
        const lines = [...data.open].sort(byWeight).slice(0, LISTED).map(incidentLine);
        return left > 0 ? [...lines, more] : lines;
    }
    if (why) return h("li", null, state("loading", `Whether an incident is open is ${why}.`));
    return h(
        "li",
        null,
        state(
            "empty",
            "No incident is open.",
            data.recent.length
                ? `The last one ended ${clock(data.recent[0].resolved_at)} UTC.`
                : "There has been none yet.",
        ),
    );
}

function lost(data, catalog, why) {
    if (!data?.window_start && why) return state("loading", `What edges lost is ${why}.`);
    const scopes = (data?.scopes ?? []).filter(
        (scope) => scope.kind === "edge" && scope.expected > scope.observed,
    );
    if (!data?.window_start)
        return state(
            "empty",
            "No window of fidelity has been published yet.",
            "Workers publish one every few seconds once telemetry flows.",
        );
    if (!scopes.length) return state("empty", "No edge lost anything in this time.");
    scopes.sort((a, b) => b.expected - b.observed - (a.expected - a.observed));
    return h(
        "ul",
        { class: "losing" },
        scopes.slice(0, 12).map((scope) => {
            const flow = catalog.flows.find((one) => one.id === scope.flow);
            const edge = flow?.edges.find(
                (one) => one.from_stage === scope.from_stage && one.to_stage === scope.to_stage,
            );
            const causes = Object.entries(scope.missing).sort((a, b) => b[1] - a[1]);
            return h(
                "li",
                { class: grade(scope, edge?.slo_ratio) },
                h(
                    "a",
                    {
                        href: address("/traces", {
                            flow: scope.flow,
                            missing_stage: scope.to_stage,
                        }),
                        class: "line",
                    },
                    h("strong", { class: "number" }, `−${count(scope.expected - scope.observed)}`),
                    h(
                        "span",
                        null,
                        `${scope.from_stage} → ${scope.to_stage} `,
                        h("span", { class: "small" }, owner(ownerOf(flow, scope.to_stage))),
                    ),
                    h(
                        "span",
                        {
                            class: "small grow",
                            title: causes.map(([cause]) => CAUSES[cause] ?? cause).join("; "),
                        },
                        causes.map(([cause, n]) => `${n} ${words(cause.toLowerCase())}`).join(", "),
                    ),
                    h("span", { class: "number" }, percent(scope.ratio)),
                ),
            );
        }),
    );
}

/** How old the newest window of fidelity may be, in microseconds. */
const lateOf = (data) => Math.max(120e6, 6 * data.window_us);
const ageOf = (data) => Date.now() * 1000 - micros(data.window_start) - data.window_us;
const isFresh = (data) => Boolean(data?.window_start) && ageOf(data) <= lateOf(data);

function staleness(data) {
    if (live.isSilent())
        return state(
            "stale",
            "The console does not tell anything at the moment.",
            "What is shown is the last that was heard; it goes on by itself.",
        );
    if (!data?.window_start) return null;
    const age = ageOf(data);
    const late = lateOf(data);
    const lag = live.last("health")?.lag_records ?? 0;
    if (age > late && lag > LAG_MAX)
        return state(
            "stale",
            `The console is still reading: it is ${roughly(age)} behind.`,
            `${count(lag - (lag % 1_000))} records wait to be read: the figures below are of that time.`,
        );
    return age > late
        ? state(
              "stale",
              `The newest window of fidelity ended ${roughly(age)} ago.`,
              "No telemetry arrives, or no worker publishes: the figures below are of that time.",
          )
        : null;
}
