// Values as people read them. Times are UTC, as everywhere else in Spanloom.

export const DASH = "–";

const pad = (number, digits = 2) => String(number).padStart(digits, "0");

export function clock(iso) {
    if (!iso) return DASH;
    return iso.slice(11, 19);
}

/** 11-26 08:15:02; of another year with it. */
export function moment(iso) {
    if (!iso) return DASH;
    const year = String(new Date().getUTCFullYear());
    const day = iso.startsWith(year) ? iso.slice(5, 10) : iso.slice(0, 10);
    return `${day} ${iso.slice(11, 19)}`;
}

/** 11-26 08:15:02 UTC: where no heading says that times are UTC. */
export const utc = (iso) => (iso ? `${moment(iso)} UTC` : DASH);

/** A sentence of ours with the times in it as the page writes them. */
export const withTimes = (text) =>
    String(text).replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, (iso) => utc(iso));

/** Microseconds since 1970 of a time with microseconds, which Date does not keep. */
export function micros(iso) {
    const whole = Date.parse(`${iso.slice(0, 19)}Z`) * 1000;
    return whole + Number((iso.slice(20, 26) || "0").padEnd(6, "0"));
}

/** A time out of microseconds since 1970, without its last three digits. */
export const isoOf = (us) => new Date(us / 1000).toISOString();

export function duration(us) {
    if (us === null || us === undefined || Number.isNaN(us)) return DASH;
    const sign = us < 0 ? "−" : "";
    const value = Math.abs(us);
    if (value < 1_000) return `${sign}${value} µs`;
    if (value < 1_000_000) return `${sign}${short(value / 1_000)} ms`;
    if (value < 60_000_000) return `${sign}${short(value / 1_000_000)} s`;
    const seconds = Math.round(value / 1_000_000);
    if (seconds < 3_600) return `${sign}${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
    const minutes = Math.round(seconds / 60);
    if (minutes < 1_440) return `${sign}${Math.floor(minutes / 60)} h ${pad(minutes % 60)} min`;
    return `${sign}${Math.floor(minutes / 1_440)} d ${Math.floor((minutes % 1_440) / 60)} h`;
}

/** A time in whole minutes: "6 min", where seconds would be made up. */
export function roughly(us) {
    const minutes = Math.floor(us / 60e6);
    return minutes < 60 ? `${minutes} min` : duration(minutes * 60e6);
}

function short(value) {
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function since(iso, now = Date.now()) {
    if (!iso) return DASH;
    const seconds = Math.max(0, Math.round(now / 1000 - micros(iso) / 1e6));
    return seconds < 60 ? `${seconds} s` : duration(seconds * 1e6);
}

export function count(value) {
    return value === null || value === undefined ? DASH : Number(value).toLocaleString("en-US");
}

/** "1 span", "2 spans", "2 entries". */
export const counted = (value, noun, nouns = `${noun}s`) =>
    `${count(value)} ${value === 1 ? noun : nouns}`;

/** A share in percent; never rounded up to 100 when something is missing. */
export function percent(ratio) {
    if (ratio === null || ratio === undefined) return DASH;
    if (ratio === 1) return "100 %";
    const digits = ratio > 0.999 ? 3 : ratio > 0.9 ? 2 : 1;
    const cut = Math.floor(ratio * 100 * 10 ** digits + 1e-9) / 10 ** digits;
    return `${cut.toFixed(digits)} %`;
}

export function rate(value) {
    if (value === null || value === undefined) return DASH;
    return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A number with what digits say something: 650, not 650.0000000000716. */
export const plain = (value) =>
    typeof value === "number" ? String(Number(value.toPrecision(6))) : value;

export const words = (name) => String(name).replaceAll("_", " ");

export const briefly = (id) => (id.length > 12 ? `${id.slice(0, 8)}…` : id);

/** now − minutes as ISO, in seconds. */
export function ago(minutes, now = Date.now()) {
    return `${new Date(now - minutes * 60_000).toISOString().slice(0, 19)}Z`;
}

export const CAUSES = {
    NEVER_ARRIVED: "never arrived, although its topic was read past the deadline",
    LATE: "came after the wait was over",
    LATE_SOURCE: "its module's events are hours old: it may still come",
    SAMPLED_OUT: "the sender sampled the trace out",
    IN_FLIGHT: "may still be on its way",
    CONTEXT_RESTARTED: "the record went on under another trace id",
    ORPHANED: "its parent was not seen",
    MODULE_SILENT: "its whole module is silent",
    MISPARTITIONED: "sent to a partition where nobody looks for it",
    REJECTED: "arrived, but could not be read",
};
