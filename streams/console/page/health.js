// How well the pipeline does: a word for each module, whose trouble it is, and what is coming.

import { address, h, keepFocus, put, state } from "./dom.js";
import { duration, percent, rate, words } from "./format.js";
import { badge } from "./parts.js";

const NOTES = 6;
const MODULES = 12;
/** So many modules stand in the contract's order; of more the worst come first. */
const WORST = ["UNHEALTHY", "DEGRADED", "UNKNOWN", "HEALTHY"];
const QUANTITY = {
    THROUGHPUT_DECLINE: "throughput",
    ERROR_RATE_INCREASE: "errors",
    LATENCY_SPIKE: "time",
};
const UNITS = {
    per_second: (value) => `${rate(value)}/s`,
    ratio: (value) => percent(value),
    us: (value) => duration(Math.round(value)),
};

/** The strip: {element, tell(pipeline)}. */
export function strip() {
    const overall = h("span", { role: "status" });
    const modules = h("ul", { class: "modules", "aria-label": "Health of modules" });
    const notes = h("ul", { class: "small notes", "aria-label": "What is coming" });
    put(modules, h("li", null, state("loading", "Waiting for the first news …")));
    const more = h("p", { class: "small", hidden: true });
    const element = h(
        "section",
        { class: "panel health", "aria-label": "Health" },
        h("div", { class: "line head" }, h("h2", null, "Health"), overall),
        modules,
        more,
        notes,
    );
    return {
        element,
        tell: (data) => {
            const is = data.overall_status;
            // Said anew only when it changes: it is read aloud.
            if (overall.textContent !== words(is)) put(overall, badge(is));
            const there = Object.entries(data.module_health);
            const [first, rest] = worstFirst(there);
            keepFocus(modules, () =>
                put(
                    modules,
                    there.length
                        ? first.map(moduleItem)
                        : h("li", null, state("empty", "No module was heard yet.")),
                ),
            );
            more.textContent = rest;
            more.hidden = !rest;
            put(
                notes,
                sentences(data).map((text) => h("li", null, text)),
            );
        },
    };
}

/** The modules to show of [name, health], and in words what the others are. */
export function worstFirst(there) {
    if (there.length <= MODULES) return [there, ""];
    const weight = ([, one]) => WORST.indexOf(one.status);
    const sorted = [...there].sort((a, b) => weight(a) - weight(b));
    const others = sorted.slice(MODULES).map(([, one]) => one.status);
    const told = WORST.filter((status) => others.includes(status)).map(
        (status) => `${others.filter((one) => one === status).length} ${words(status).toLowerCase()}`,
    );
    return [sorted.slice(0, MODULES), `and ${others.length} more modules: ${told.join(", ")}`];
}

function moduleItem([name, one]) {
    const facts = [
        one.upstream_impact ? `${share(one.upstream_impact)} of its trouble is from upstream` : "",
        one.downstream_risk
            ? `${share(one.downstream_risk)} of the other modules' work needs it`
            : "no other module needs it",
    ].filter(Boolean);
    const parts = Object.entries(one.components).map(
        ([part, health]) => `${part}: ${words(health.status)}`,
    );
    return h(
        "li",
        { class: one.status.toLowerCase() },
        h(
            "a",
            {
                href: address("/incidents", { state: "open", module: name }),
                title: parts.join("\n"),
            },
            h("span", { class: "line" }, h("strong", null, name), badge(one.status)),
            h("span", { class: "small" }, facts.join(", ")),
        ),
    );
}

/** A share without decimals; `percent` is for fidelity, where they matter. */
const share = (ratio) => `${Math.round(ratio * 100)} %`;

/** What there is to say, as text: cascades first, then indicators that are bad or will be. */
export function sentences(data) {
    const cascades = data.cascades.map(
        (one) => `${one.module} has its trouble from ${one.from_module}: ${one.path.join(" → ")}`,
    );
    const coming = data.predictive_indicators.filter((one) => one.time_to_threshold !== null);
    const all = [...cascades, ...coming.map(sentence)];
    const left = all.length - NOTES;
    return left > 0 ? [...all.slice(0, NOTES), `and ${left} more`] : all;
}

function sentence(one) {
    const shown = UNITS[one.unit];
    const place = one.flow
        ? `flow ${one.flow}`
        : [one.module, one.component].filter(Boolean).join(" ");
    const when = one.time_to_threshold
        ? `at its threshold in ${duration(Math.round(one.time_to_threshold) * 1e6)}`
        : "beyond its threshold";
    const values = `${shown(one.current_value)}, threshold ${shown(one.threshold)}`;
    return `${place}: ${QUANTITY[one.indicator_type]} ${when} (${values})`;
}
