// Catalog: the contract as people ask for it, and whom nobody owns.

import { contract } from "../api.js";
import { remember } from "../app.js";
import { field, h, put, state } from "../dom.js";
import { count, percent } from "../format.js";
import { badge, owner, panel, table } from "../parts.js";

const SIGNALS_MAX = 400;

export async function show(view) {
    const found = await contract();
    if (!view.isCurrent()) return;
    if (!found.contract) {
        put(
            view.main,
            h("h1", null, "Catalog"),
            state(
                "empty",
                "The console was given no contract.",
                "Start it with --contract FILE (or SPANLOOM_CONTRACT), the one that the workers use.",
                "It names modules, flows, signals and owners.",
            ),
        );
        return;
    }
    const { unowned } = found;
    const nobody = [
        ...unowned.modules.map((name) => `module ${name}`),
        ...unowned.stages.map((name) => `stage ${name}`),
        ...unowned.rules.map((name) => `rule ${name}`),
    ];
    put(
        view.main,
        h("h1", null, `Contract ${found.contract.name} ${found.contract.version}`),
        nobody.length
            ? panel(
                  `Owned by nobody (${count(nobody.length)})`,
                  h(
                      "ul",
                      { class: "chips" },
                      nobody.map((name) => h("li", { class: "unowned" }, name)),
                  ),
              )
            : null,
        panel(
            `Modules (${count(found.modules.length)})`,
            table(
                "Modules",
                ["Module", "Owner", "Channel", "Tier", "Depends on", "Topic", "Components"],
                found.modules.map((one) => [
                    h("strong", null, one.name),
                    owner(one.owner),
                    one.channel,
                    String(one.tier),
                    one.depends_on.join(", "),
                    h("code", null, one.topic),
                    h(
                        "span",
                        { class: "small" },
                        one.components.map((part) => part.name).join(", "),
                    ),
                ]),
            ),
        ),
        found.flows.map((flow) =>
            panel(
                `Flow ${flow.id}: ${count(flow.stages.length)} stages, objective ${percent(flow.slo_ratio)}`,
                h(
                    "details",
                    { open: found.flows.length === 1 },
                    h("summary", null, "Stages"),
                    table(
                        `Stages of ${flow.id}`,
                        ["Stage", "Module", "Span", "After", "Required", "Deadline", "Owner"],
                        flow.stages.map((stage) => [
                            h("strong", null, stage.id),
                            `${stage.module}${stage.component ? `.${stage.component}` : ""}`,
                            h("code", null, stage.name),
                            stage.after.join(", "),
                            requirement(stage),
                            stage.deadline_ms ? `${count(stage.deadline_ms)} ms` : "",
                            owner(stage.owner),
                        ]),
                    ),
                ),
            ),
        ),
        signals(view, found),
        panel(
            `Alert rules (${count(found.rules.length)})`,
            h(
                "details",
                null,
                h("summary", null, "Rules"),
                table(
                    "Rules",
                    ["Rule", "Kind", "Severity", "Of", "Owner"],
                    found.rules.map((rule) => [
                        h("strong", null, rule.id),
                        rule.kind,
                        badge(rule.severity),
                        h("code", null, `${rule.module} ${rule.name}`),
                        rule.module.includes("*")
                            ? h("span", { class: "small" }, "the module's")
                            : owner(rule.owner),
                    ]),
                ),
            ),
        ),
    );
}

function requirement(stage) {
    if (stage.when) {
        const { stage: other, dimension, values } = stage.when;
        return `when ${other}.${dimension} is ${values.join(" or ")}`;
    }
    return stage.required ? "yes" : h("span", { class: "small" }, "optional");
}

function signals(view, found) {
    if (!found.signals.length) return null;
    const box = h("div");
    const input = h("input", {
        type: "search",
        value: view.query.signal ?? "",
        maxlength: 100,
        spellcheck: "false",
    });
    const draw = () => {
        const parts = input.value.toLowerCase().split(/\s+/).filter(Boolean);
        const fits = found.signals.filter((one) =>
            parts.every((part) =>
                `${one.name} ${one.description} ${one.answers}`.toLowerCase().includes(part),
            ),
        );
        put(
            box,
            fits.length
                ? table(
                      "Signals",
                      ["Signal", "Type", "Unit", "Varies in", "What it says", "Answers"],
                      fits
                          .slice(0, SIGNALS_MAX)
                          .map((one) => [
                              h("code", null, one.name),
                              one.type,
                              one.unit,
                              h("span", { class: "small" }, one.dimensions.join(", ")),
                              one.description,
                              h(
                                  "span",
                                  { class: "small" },
                                  found.requirements[one.answers] ?? one.answers,
                              ),
                          ]),
                  )
                : state("empty", "No signal fits."),
            fits.length > SIGNALS_MAX
                ? h("p", { class: "small" }, `${count(fits.length - SIGNALS_MAX)} more: narrow it.`)
                : null,
        );
    };
    input.addEventListener("input", () => {
        remember({ signal: input.value });
        draw();
        if (input.value) list.open = true;
    });
    draw();
    const list = h(
        "details",
        { open: Boolean(input.value) },
        h("summary", null, "List of signals"),
        box,
    );
    return panel(
        `Signals (${count(found.signals.length)})`,
        field("Find by name or what it says", input),
        list,
    );
}
