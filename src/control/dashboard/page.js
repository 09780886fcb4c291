// The dashboard: hears /api/v1/events and shows each snapshot. Names of streams are anybody's words: they go into the page as text, never as markup.
"use strict";

const HISTORY = 60; // snapshots that sparklines and latencies look back
const SILENCE_MS = 6000; // without a snapshot for so long the server is taken to be away
const RETRY_MS = 1500;
const SORT_EVERY = 5; // snapshots: rows that change places at every one cannot be read
const TOKEN = "inrush-token";

const by = (id) => document.getElementById(id);

/** An element with attributes and children; text stays text. */
function make(tag, attributes = {}, ...children) {
  const it = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) it.setAttribute(name, value);
  it.append(...children);
  return it;
}

function draw(tag, attributes, ...children) {
  const it = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) it.setAttribute(name, value);
  it.append(...children);
  return it;
}

/** Sets text only where it differs: what is unchanged keeps its selection, and nobody reads it out again. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---- Numbers as people read them

function scaled(value, units, base) {
  let unit = 0;
  while (value >= base * 0.9995 && unit < units.length - 1) {
    value /= base;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return [value.toFixed(digits), units[unit]];
}

const bitrate = (bits) => scaled(bits, ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"], 1000);
const bytes = (count) => scaled(count, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
const whole = (count) => Math.round(count).toLocaleString("en");
const counted = (count, what) => `${whole(count)} ${what}${count === 1 ? "" : "s"}`;

function lasting(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function brief(seconds) {
  if (seconds === null) return "over 5 s";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  return seconds < 1 ? `${+(seconds * 1000).toFixed(1)} ms` : `${+seconds.toFixed(2)} s`;
}

// ---- Codecs by the names that people know

const CODECS = {
  avc1: "H.264", hvc1: "HEVC", vvc1: "VVC", av01: "AV1", vp08: "VP8", vp09: "VP9",
  mp4a: "AAC", Opus: "Opus", fLaC: "FLAC", "ac-3": "AC-3", "ec-3": "E-AC-3", ".mp3": "MP3",
};

function tracks(stream, kind) {
  const of = stream.tracks.filter((track) => track.kind === kind);
  const names = of.map((track) => CODECS[track.codec] ?? track.codec);
  return { text: [...new Set(names)].join(", ") + (of.length > 1 ? ` (${of.length} tracks)` : ""), first: of[0] };
}

function video(stream) {
  const { text, first } = tracks(stream, "video");
  if (!first) return ["", ""];
  const size = stream.resolution ? `${stream.resolution.width}×${stream.resolution.height}` : "";
  const rate = stream.media?.frames_per_second ? `${+stream.media.frames_per_second.toFixed(1)} fps` : "";
  const gop = stream.media?.gop_ms ? `GOP ${brief(stream.media.gop_ms / 1000)}` : "";
  const codec = first.codec_string === first.codec ? "" : first.codec_string;
  return [[text, size, rate].filter(Boolean).join(" "), [codec, gop].filter(Boolean).join(", ")];
}

function audio(stream) {
  const { text, first } = tracks(stream, "audio");
  if (!first) return ["", ""];
  const rate = stream.audio ? `${stream.audio.sample_rate_hz / 1000} kHz` : "";
  const channels = stream.audio ? `${stream.audio.channels} ch` : "";
  return [text, [rate, channels].filter(Boolean).join(", ")];
}

// ---- Cells: each column makes its cell once and fills it at every snapshot

const text = (of) => (cell, entry) => say(cell, of(entry));

function name(cell, entry) {
  // Each part by itself, so that signs of another direction of writing turn nothing else around.
  if (!cell.firstChild) cell.append(make("div", { class: "name-of" }, make("bdi", { class: "app" }), make("bdi")));
  say(cell.firstChild.firstChild, `${entry.app}/`);
  say(cell.firstChild.lastChild, entry.name);
  cell.title = `${entry.app}/${entry.name}`;
}

function twoLines(of) {
  return (cell, entry) => {
    if (!cell.firstChild) cell.append(make("div", {}, make("span"), make("small")));
    const [first, second] = of(entry);
    say(cell.firstChild.firstChild, first || "–");
    say(cell.firstChild.lastChild, second);
  };
}

function rate(field) {
  return (cell, entry, row) => {
    if (!cell.firstChild) {
      const path = draw("path", { d: "" });
      const spark = draw("svg", { class: "spark", viewBox: "0 0 100 20", preserveAspectRatio: "none", "aria-hidden": "true" }, path);
      cell.append(make("div", {}, make("span"), spark));
    }
    const values = (row.values ??= []);
    values.push(entry[field]);
    if (values.length > HISTORY) values.shift();
    const top = Math.max(...values, 1) * 1.1;
    const at = (value, index) => {
      const age = values.length - 1 - index;
      return `${(100 - (100 * age) / (HISTORY - 1)).toFixed(1)} ${(19 - (18 * value) / top).toFixed(1)}`;
    };
    say(cell.firstChild.firstChild, bitrate(entry[field]).join(" "));
    const line = values.length > 1 ? `M${values.map(at).join("L")}` : "";
    cell.querySelector("path").setAttribute("d", line);
  };
}

/** Pills: [kind, text, title] each. */
function pills(of) {
  return (cell, entry) => {
    const wanted = of(entry);
    const shown = wanted.map((pill) => pill.slice(0, 2).join("|")).join("\n");
    if (cell.dataset.shown !== shown) {
      cell.dataset.shown = shown;
      cell.replaceChildren(make("div", {}, ...wanted.map(([kind, label]) => make("span", { class: "pill", "data-is": kind }, label))));
    }
    wanted.forEach(([, , title], index) => { cell.firstChild.children[index].title = title ?? ""; });
  };
}

function health(stream) {
  const codes = stream.health.map(({ code, seconds }) => ["bad", code, `for ${lasting(seconds)}`]);
  if (stream.absent) codes.push(["warn", "absent", "its publisher was lost and is waited for"]);
  if (codes.length === 0) codes.push(["good", "ok"]);
  if (stream.dry_run) codes.push(["", "dry run", "nobody can play it"]);
  if (stream.standby) codes.push(["", "standby", `connection ${stream.standby} stands by`]);
  return codes;
}

function state(end) {
  const kind = { live: "good", standby: "" }[end.state] ?? (end.state === "waiting" ? "bad" : "warn");
  const next = end.next_try_seconds === null ? "" : `, next try in ${lasting(end.next_try_seconds)}`;
  return [[kind, end.state, `for ${lasting(end.state_seconds)}${next}`]];
}

const STREAMS = [
  { head: "Stream", fill: name, key: (it) => `${it.app}/${it.name}`, isHead: true },
  { head: "Health", fill: pills(health), key: (it) => -(it.health.length + it.absent) },
  { head: "Bitrate", fill: rate("bits_in_per_second"), key: (it) => it.bits_in_per_second, isNumber: true },
  { head: "Video", fill: twoLines(video), key: (it) => (it.resolution ? it.resolution.width * it.resolution.height : 0) },
  { head: "Audio", fill: twoLines(audio), key: (it) => audio(it)[0] },
  { head: "Players", fill: text((it) => whole(it.subscribers)), key: (it) => it.subscribers, isNumber: true },
  { head: "Core", fill: text((it) => String(it.core)), key: (it) => it.core, isNumber: true },
  { head: "Up", fill: text((it) => lasting(it.uptime_seconds)), key: (it) => it.uptime_seconds, isNumber: true },
];

const far = (place, field) => [
  { head: "Stream", fill: name, key: (it) => `${it.app}/${it.name}`, isHead: true },
  { head: place === "target" ? "To" : "From", fill: text((it) => it[place]), key: (it) => it[place] },
  { head: "State", fill: pills(state), key: (it) => it.state },
  { head: "Bitrate", fill: rate(field), key: (it) => it[field], isNumber: true },
  ...(place === "target"
    ? [{ head: "Dropped", fill: text((it) => whole(it.dropped)), key: (it) => it.dropped, isNumber: true },
       { head: "Queued", fill: text((it) => `${whole(it.queued_ms)} ms`), key: (it) => it.queued_ms, isNumber: true }]
    : []),
  { head: "Retries", fill: text((it) => whole(it.reconnects)), key: (it) => it.reconnects, isNumber: true },
  { head: "Last error", fill: text((it) => it.last_error), key: (it) => it.last_error },
];

/** A table that follows a list. One row is in the tab order; the arrow keys go on from there. */
class Table {
  constructor(id, columns, identity) {
    Object.assign(this, { id, columns, identity, rows: new Map(), sortedBy: null, isDescending: false, age: 0 });
    this.table = by(`${id}-table`);
    this.table.setAttribute("role", "table");
    this.table.setAttribute("aria-labelledby", `${id}-title`);
    this.heads = columns.map((column, index) => {
      const button = make("button", { type: "button" }, column.head);
      button.addEventListener("click", () => this.sortBy(index));
      return make("th", { scope: "col", role: "columnheader", "aria-sort": "none", ...(column.isNumber && { class: "number" }) }, button);
    });
    this.body = make("tbody", { role: "rowgroup" });
    this.table.append(make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...this.heads)), this.body);
    this.body.addEventListener("keydown", (event) => this.step(event));
    this.body.addEventListener("focusin", (event) => this.rove(event.target.closest("tr")));
  }

  sortBy(index) {
    this.isDescending = this.sortedBy === index ? !this.isDescending : Boolean(this.columns[index].isNumber);
    this.sortedBy = index;
    this.heads.forEach((head, at) => {
      head.setAttribute("aria-sort", at !== index ? "none" : this.isDescending ? "descending" : "ascending");
    });
    this.arrange();
  }

  /** As sorted; unsorted, as it came: what is wrong first. */
  arrange() {
    const rows = [...this.rows.values()];
    if (this.sortedBy === null) {
      rows.sort((a, b) => a.place - b.place);
    } else {
      const { key } = this.columns[this.sortedBy];
      const sign = this.isDescending ? -1 : 1;
      const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
      rows.sort((a, b) => sign * compare(key(a.entry), key(b.entry)) || a.id.localeCompare(b.id));
    }
    const focused = document.activeElement;
    rows.forEach((row, index) => {
      if (this.body.children[index] !== row.element) this.body.insertBefore(row.element, this.body.children[index] ?? null);
    });
    if (focused !== document.activeElement && this.body.contains(focused)) focused.focus({ preventScroll: true });
    if (!this.body.contains(document.activeElement)) this.rove(this.body.firstElementChild);
  }

  show(entries, count, limit) {
    const before = new Set(this.rows.keys());
    const seen = new Map();
    let isNew = false;
    entries.forEach((entry, place) => {
      // Several may go by one name, as dry runs do.
      const plain = this.identity(entry);
      const nth = seen.get(plain) ?? 0;
      seen.set(plain, nth + 1);
      const id = `${plain}\n${nth}`;
      let row = this.rows.get(id);
      if (!row) {
        row = { id, element: make("tr", { tabindex: "-1", role: "row" }) };
        row.cells = this.columns.map(({ head, isHead, isNumber }) => make(isHead ? "th" : "td", {
          ...(isHead ? { scope: "row", role: "rowheader" } : { role: "cell", "data-of": head }), ...(isNumber && { class: "number" }),
        }));
        row.element.append(...row.cells);
        this.rows.set(id, row);
        isNew = true;
      }
      before.delete(id);
      Object.assign(row, { entry, place });
      this.columns.forEach((column, index) => column.fill(row.cells[index], entry, row));
    });
    for (const id of before) {
      const { element } = this.rows.get(id);
      const next = element.contains(document.activeElement) && (element.nextElementSibling ?? element.previousElementSibling);
      element.remove();
      this.rows.delete(id);
      if (next) next.focus({ preventScroll: true });
    }
    this.age += 1;
    if (isNew || this.age % SORT_EVERY === 0) this.arrange();
    if (!this.body.querySelector("tr[tabindex='0']")) this.rove(this.body.firstElementChild);
    this.table.hidden = entries.length === 0;
    by(`${this.id}-none`).hidden = count > 0;
    say(by(`${this.id}-count`), count > 0 ? whole(count) : "");
    say(by(`${this.id}-note`), count > entries.length ? `the first ${entries.length} are shown: ${limit}` : "");
  }

  rove(row) {
    if (!row) return;
    this.body.querySelector("tr[tabindex='0']")?.setAttribute("tabindex", "-1");
    row.setAttribute("tabindex", "0");
  }

  step(event) {
    const row = event.target.closest("tr");
    const to = {
      ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling,
      Home: this.body.firstElementChild, End: this.body.lastElementChild,
    }[event.key];
    if (!to || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    to.focus();
  }
}

// ---- Cores, figures, latencies

const coreRows = [];
function showCores(cores, before, seconds) {
  const list = by("cores");
  while (coreRows.length > cores.length) coreRows.pop().remove();
  cores.forEach((core, index) => {
    let row = coreRows[index];
    if (!row) {
      row = make("li", {},
        make("div", { class: "top" }, make("strong", {}, `Core ${core.core}`), make("span", { class: "pill" }), make("span", { class: "load" })),
        make("div", { class: "bar" }, make("i")), make("p"), make("p"));
      coreRows.push(row);
      list.append(row);
    }
    const [pill, load] = row.firstChild.querySelectorAll("span");
    const was = before?.cores[index];
    const perSecond = (field) => (was && seconds > 0 ? Math.max(0, core[field] - was[field]) / seconds : null);
    const mode = core.stalled ? "stands still" : core.polling ? "polling" : "waking";
    say(pill, mode);
    pill.dataset.is = core.stalled ? "bad" : "";
    row.dataset.is = core.stalled ? "bad" : "";
    const busy = core.cpu_seconds === null ? null : perSecond("cpu_seconds");
    const share = busy === null ? null : Math.min(1, busy);
    say(load, share === null ? "" : `${Math.round(share * 100)} %`);
    const bar = row.children[1].firstChild;
    bar.style.width = `${(share ?? 0) * 100}%`;
    bar.className = share > 0.85 ? "high" : "";
    const number = (value) => (value === null ? "–" : whole(value));
    const polls = perSecond("polls");
    const empty = polls > 0 ? ` (${Math.round((100 * perSecond("polls_empty")) / polls)} % empty)` : "";
    say(row.children[2], `${number(perSecond("wakeups"))} wake-ups/s · ${number(polls)} polls/s${empty}`);
    say(row.children[3], [counted(core.publishers, "publisher"), counted(core.subscribers, "player"), counted(core.connections, "connection")].join(" · "));
  });
}

const tiles = new Map();
function tile(label, value, unit = "") {
  if (!tiles.has(label)) {
    const made = make("dd", {}, make("span"), " ", make("small"));
    by("figures").append(make("div", {}, make("dt", {}, label), made));
    tiles.set(label, made);
  }
  say(tiles.get(label).firstChild, value);
  say(tiles.get(label).lastChild, unit);
}

function showFigures(now, before, seconds) {
  const sum = (snapshot, field) => snapshot.cores.reduce((all, core) => all + core[field], 0);
  const out = before && seconds > 0 ? (8 * Math.max(0, sum(now, "bytes_out") - sum(before, "bytes_out"))) / seconds : null;
  tile("Streams", whole(now.streams_count));
  tile("In trouble", whole(now.streams_unhealthy));
  tiles.get("In trouble").dataset.is = now.streams_unhealthy > 0 ? "bad" : "";
  tile("Bitrate in", ...bitrate(now.bits_in_per_second));
  tile("Bitrate out", ...(out === null ? ["–"] : bitrate(out)));
  tile("Players", whole(sum(now, "subscribers")));
  tile("Connections", whole(sum(now, "connections")));
  if (now.node.resident_bytes !== null) tile("Memory", ...bytes(now.node.resident_bytes));
  if (now.node.open_fds !== null) tile("Open files", whole(now.node.open_fds), `of ${whole(now.node.max_fds)}`);
}

const LATENCIES = {
  read_to_written: ["Through the server", "from the read until players' sockets have it"],
  read_to_framed: ["Read to framed", "parsed, checked, queued"],
  framed_to_written: ["Framed to written", "queued, until the kernel has it"],
  tick: ["A tick's work", "while a core polls, writes included"],
  tick_late: ["A tick's delay", "from due until begun"],
};
const latencyRows = new Map();

function showLatencies(now, first) {
  for (const name of [...Object.keys(LATENCIES), ...now.histograms.map((it) => it.name)]) {
    const histogram = now.histograms.find((it) => it.name === name);
    if (!histogram) continue;
    const earlier = first?.histograms.find((it) => it.name === name)?.buckets;
    const counts = histogram.buckets.map(([, count], index) => Math.max(0, count - (earlier?.[index]?.[1] ?? 0)));
    const total = counts.reduce((a, b) => a + b, 0);
    const quantile = (share) => {
      let left = share * total;
      const index = counts.findIndex((count) => (left -= count) <= 0 && total > 0);
      return total === 0 ? "–" : histogram.buckets[index][0] === null ? brief(null) : `≤ ${brief(histogram.buckets[index][0])}`;
    };
    let row = latencyRows.get(name);
    if (!row) {
      const [title, what] = LATENCIES[name] ?? [name, histogram.help];
      const figure = (label) => make("div", {}, make("dt", {}, label), make("dd"));
      const bars = histogram.buckets.map((_, index) => draw("rect", { x: index * 10 + 1, width: 8, y: 40, height: 0, rx: 1 }));
      row = make("li", {}, make("h3", {}, title), make("dl", {}, figure("median"), figure("99 %")),
        draw("svg", { viewBox: `0 0 ${bars.length * 10} 40`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars),
        make("p", { class: "axis", "aria-hidden": "true" }, make("span", {}, brief(histogram.buckets[0][0])), make("span", {}, "5 ms"), make("span", {}, brief(null))),
        make("p", { class: "what" }, `${what}: `, make("span")));
      latencyRows.set(name, row);
      by("latency").append(row);
    }
    const [median, high] = row.querySelectorAll("dd");
    say(median, quantile(0.5));
    say(high, quantile(0.99));
    say(row.lastChild.lastChild, counted(total, "time"));
    const top = Math.max(...counts, 1);
    row.querySelectorAll("rect").forEach((bar, index) => {
      // A single one of many is seen as well.
      const height = counts[index] === 0 ? 0 : Math.max(1, (40 * counts[index]) / top);
      bar.setAttribute("y", 40 - height);
      bar.setAttribute("height", height);
    });
  }
}

// ---- The whole page

const streams = new Table("streams", STREAMS, (it) => `${it.app}\n${it.name}`);
const forwards = new Table("forwards", far("target", "bits_out_per_second"), (it) => `${it.app}\n${it.name}\n${it.target}\n${it.rank}`);
const pulls = new Table("pulls", far("source", "bits_in_per_second"), (it) => `${it.app}\n${it.name}\n${it.source}`);
const history = [];
let announced = "";

function show(now) {
  const before = history.at(-1);
  // After a restart all counters begin anew.
  if (before && now.node.uptime_seconds < before.node.uptime_seconds) history.length = 0;
  const last = history.at(-1);
  const seconds = last ? (now.time_ms - last.time_ms) / 1000 : 0;
  const { node } = now;
  say(by("node"), node.name || "inrush");
  say(by("version"), `inrush ${node.version}`);
  say(by("uptime"), `up ${lasting(node.uptime_seconds)}`);
  document.title = `${node.name || "inrush"}: ${counted(now.streams_count, "stream")}`;
  showState(node.state);
  showFigures(now, last, seconds);
  showCores(now.cores, last, seconds);
  const worst = "those in trouble, then the highest bitrates";
  streams.show(now.streams, now.streams_count, worst);
  forwards.show(now.forwards, now.forwards_count, "those that are not live come first");
  pulls.show(now.pulls, now.pulls_count, "those that are not live come first");
  history.push(now);
  if (history.length > HISTORY) history.shift();
  showLatencies(now, history.length > 1 ? history[0] : null);
  by("all").hidden = false;
  by("door").hidden = true;
  // Read out only when one of these changes, not once a second.
  const trouble = now.streams_unhealthy > 0 ? `, ${counted(now.streams_unhealthy, "stream")} in trouble` : "";
  announce(`${node.name || "inrush"} is ${node.state}${trouble}`);
}

function showState(state) {
  const pill = by("state");
  say(pill, { away: "no answer" }[state] ?? state);
  pill.dataset.is = { ready: "good", away: "bad", connecting: "" }[state] ?? "warn";
  by("all").classList.toggle("stale", state === "away");
}

function announce(words) {
  if (announced !== words) say(by("said"), (announced = words));
}

/** It does not answer, or says why it will not: too many others watch. */
function away(why) {
  if (by("door").hidden) {
    showState("away");
    if (why) say(by("state"), why);
    announce(why ?? "the server does not answer");
  }
}

// ---- What is heard

/** Asks for the token; settles once somebody has said one. */
function askForToken(isWrong) {
  history.length = 0;
  by("all").hidden = true;
  by("door").hidden = false;
  showState("connecting");
  say(by("state"), "locked");
  say(by("uptime"), "");
  say(by("wrong"), isWrong ? "This is not the token." : "");
  by("token").value = "";
  by("token").focus();
  return new Promise((settle) => {
    by("door").onsubmit = (event) => {
      event.preventDefault();
      const said = by("token").value.trim();
      // No header could hold anything else (RFC 6750 §2.1).
      if (!/^[A-Za-z0-9._~+/=-]+$/.test(said)) {
        say(by("wrong"), "A token has no such characters.");
        return;
      }
      sessionStorage.setItem(TOKEN, said);
      settle();
    };
  });
}

const seen = () => new Promise((settle) => {
  if (!document.hidden) settle();
  else document.addEventListener("visibilitychange", () => settle(), { once: true });
});

const pause = (ms) => new Promise((settle) => setTimeout(settle, ms));

/** Hears one answer to its end. An EventSource could not say the token. */
async function hear(signal, onSnapshot) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  // A link says no token.
  by("more").hidden = token !== null;
  const answer = await fetch("/api/v1/events", { headers, signal, cache: "no-store", redirect: "error" });
  if (answer.status === 401) return { locked: true, isWrong: token !== null };
  if (!answer.ok) return { refused: (await answer.json()).error.message };
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { locked: false };
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop();
    const newest = events.filter((event) => event.startsWith("data: ")).pop();
    if (newest) onSnapshot(JSON.parse(newest.slice(6)));
  }
}

async function live() {
  for (;;) {
    // A tab that nobody looks at gives its place among the listeners up.
    await seen();
    const abort = new AbortController();
    const leave = () => document.hidden && abort.abort();
    document.addEventListener("visibilitychange", leave);
    let timer;
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => { away(); abort.abort(); }, SILENCE_MS);
    };
    watch();
    try {
      const { locked, isWrong, refused } = await hear(abort.signal, (snapshot) => { watch(); show(snapshot); });
      clearTimeout(timer);
      if (refused) away(refused);
      if (locked) await askForToken(isWrong);
      else await pause(RETRY_MS);
    } catch {
      if (!document.hidden) away();
      await pause(RETRY_MS);
    } finally {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", leave);
    }
  }
}

live();
