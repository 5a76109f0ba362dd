"use strict";
// The browser of outputs: filters the rows of #rows and shows them a few at a time. Every text is
// set as text; nothing of the data ever becomes markup, and nothing is asked of any network.
(() => {
  const FIRST = 6;
  const STEP = 48;
  const form = document.getElementById("filters");
  const list = document.getElementById("found");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const data = JSON.parse(document.getElementById("rows").textContent);
  const total = data.benchmark.length;
  const field = name => form.elements[name];
  const marks = { right: "✓ right", wrong: "✗ wrong" };
  let lower = null;
  let found = [];
  let shown = 0;

  const add = (parent, tag, classes, text) => {
    const made = document.createElement(tag);
    if (classes) made.className = classes;
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };

  // Groups ("category: counting") of the chosen benchmark, in order of appearance.
  const groupsOf = benchmark => {
    const names = new Set();
    for (let row = 0; row < total; row += 1) {
      if (benchmark === "" || data.benchmark[row] === benchmark) data.groups[row].forEach(one => names.add(one));
    }
    return [...names].sort((a, b) => data.texts[a] < data.texts[b] ? -1 : 1);
  };

  const fillGroups = () => {
    const chosen = field("benchmark").value;
    const select = field("group");
    select.replaceChildren(new Option("every group", ""));
    let tag = null;
    let part = null;
    for (const one of groupsOf(chosen === "" ? "" : Number(chosen))) {
      const [name, ...rest] = data.texts[one].split(": ");
      if (name !== tag) {
        part = document.createElement("optgroup");
        part.label = tag = name;
        select.append(part);
      }
      part.append(new Option(rest.join(": "), one));
    }
  };

  // What each choice of "verdict" asks of a row; other is the number of a baseline.
  const tests = {
    "": () => true,
    differ: row => data.runs.some((_, other) => compared(row, other)
      && data.value[0][row] !== data.value[other][row]),
    right: row => isRight(0, row) === true,
    wrong: row => isRight(0, row) === false,
    none: row => data.texts[data.status[0][row]] !== "scored",
    better: (row, other) => compared(row, other) && data.value[0][row] > data.value[other][row],
    worse: (row, other) => compared(row, other) && data.value[0][row] < data.value[other][row],
    both: (row, other) => isRight(0, row) === true && isRight(other, row) === true,
    neither: (row, other) => isRight(0, row) === false && isRight(other, row) === false,
  };
  const isRight = (run, row) => {
    const value = data.value[run][row];
    return value === null ? null : value > data.middle[data.benchmark[row]];
  };
  const compared = (row, other) => data.value[0][row] !== null && data.value[other][row] !== null;

  // Every text in lower case, made once: before the first search if the reader leaves the time.
  const lowered = () => lower = lower || data.texts.map(text => text.toLowerCase());

  // Which texts hold the words; null if none are asked for.
  const textHits = needle => {
    if (!needle) return null;
    return lowered().map(text => text.includes(needle));
  };
  const rowHit = (hits, row) => hits[data.asked[row]] || hits[data.key[row]] || hits[data.gold[row]]
    || data.given.some(given => given[row] >= 0 && hits[given[row]]);

  const select = () => {
    const benchmark = field("benchmark").value;
    const group = field("group").value;
    const [verdict, other] = field("verdict").value.split("-");
    const hits = textHits(field("words").value.trim().toLowerCase());
    const rows = [];
    for (let row = 0; row < total; row += 1) {
      if (benchmark !== "" && data.benchmark[row] !== Number(benchmark)) continue;
      if (group !== "" && !data.groups[row].includes(Number(group))) continue;
      if (!tests[verdict](row, Number(other))) continue;
      if (hits && !rowHit(hits, row)) continue;
      rows.push(row);
    }
    return rows;
  };

  const picture = (parent, number, label) => {
    const [file, width, height] = data.pictures[number];
    const figure = add(parent, "figure", "shot");
    if (!file) {
      add(figure, "div", "lost", "image not available");
    } else {
      const link = add(figure, "a");
      const image = document.createElement("img");
      Object.assign(image, { loading: "lazy", decoding: "async", width, height, alt: label });
      if (Math.max(width, height) <= 160) image.className = "pixels";
      link.href = image.src = file;
      link.append(image);
    }
    return figure;
  };

  const verdictOf = (run, row) => {
    const value = data.value[run][row];
    const status = data.texts[data.status[run][row]];
    if (value === null || status !== "scored") return [`○ ${status.replace("_", " ")}`, "none"];
    if (!data.binary[data.benchmark[row]]) return [`score ${value}`, "finer"];
    const word = value > 0.5 ? "right" : "wrong";
    return [marks[word], word];
  };

  const side = (parent, run, row) => {
    const made = add(parent, "div", "side");
    const name = add(made, "p", "who");
    add(name, "b", "", data.runs[run]);
    if (data.status[run][row] < 0) {
      add(made, "p", "quiet", "does not have it");
      return;
    }
    const [text, tone] = verdictOf(run, row);
    add(name, "span", `verdict ${tone}`, text);
    const given = data.texts[data.given[run][row]];
    if (data.picture[run][row] >= 0) {
      picture(made, data.picture[run][row], `By ${data.runs[run]}: ${data.texts[data.asked[row]]}`);
    } else {
      const answer = add(made, "p", "said", given || "(empty)");
      answer.dir = "auto";
    }
    const note = data.texts[data.note[run][row]];
    if (note && note !== given) add(made, "p", "note", note).dir = "auto";
  };

  const card = row => {
    const benchmark = data.benchmark[row];
    const made = document.createElement("li");
    made.className = `row ${data.kinds[benchmark]}`;
    const head = add(made, "p", "place");
    add(head, "span", "", data.titles[benchmark]);
    if (data.tiny[benchmark]) add(head, "span", "chip tiny", "tiny");
    add(head, "code", "", data.texts[data.key[row]]);
    for (const one of data.groups[row]) add(head, "span", "chip", data.texts[one]);
    const ask = add(made, "div", "ask");
    for (const one of data.shown[row]) picture(ask, one, `Image of: ${data.texts[data.asked[row]]}`);
    const words = add(ask, "div", "asked");
    add(words, "p", "", data.texts[data.asked[row]]).dir = "auto";
    const gold = data.texts[data.gold[row]];
    if (gold) add(words, "p", "gold", `gold: ${gold}`).dir = "auto";
    const sides = add(made, "div", "sides");
    data.runs.forEach((_, run) => side(sides, run, row));
    return made;
  };

  const showMore = step => {
    const next = found.slice(shown, shown + step).map(card);
    list.append(...next);
    shown += next.length;
    more.hidden = shown >= found.length;
    return next[0];
  };

  const refresh = () => {
    found = select();
    shown = 0;
    list.replaceChildren();
    showMore(FIRST);
    count.textContent = `${found.length.toLocaleString("en")} of ${total.toLocaleString("en")} rows`;
  };

  // A link that names a filter: data-benchmark, data-group (its text), data-verdict.
  const follow = link => {
    const wanted = link.dataset;
    form.reset();
    field("benchmark").value = wanted.benchmark || "";
    fillGroups();
    const group = data.texts.indexOf(wanted.group || "");
    if (wanted.group && group >= 0) field("group").value = String(group);
    if (wanted.verdict) field("verdict").value = wanted.verdict;
    refresh();
  };

  field("benchmark").addEventListener("change", () => { fillGroups(); refresh(); });
  form.addEventListener("change", event => { if (event.target.name !== "benchmark") refresh(); });
  field("words").addEventListener("input", refresh);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { fillGroups(); refresh(); }));
  more.addEventListener("click", () => {
    const first = showMore(STEP);
    if (first) { first.tabIndex = -1; first.focus(); }
  });
  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-verdict]");
    if (link) follow(link);
  });
  form.hidden = false;
  fillGroups();
  refresh();
  if (!found.length) {
    field("verdict").value = "";
    refresh();
  }
  setTimeout(lowered, 300);
})();
