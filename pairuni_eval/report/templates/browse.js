// The browser of outputs: unpacks the rows of #rows, filters them and shows a few at a time. What is
// shown has an address behind the "#", which a reader can copy, open, and go back to. Every text is
// set as text; nothing of the data ever becomes markup, and nothing is asked of any network.
(async () => {
  const FIRST = 6;
  const STEP = 48;
  const PAUSE = 250; // milliseconds before an address is written: one for all that is typed
  const NOTED = 2000; // milliseconds that "Copied" stands
  const DRAW = " · draw ";
  const BETWEEN = "\x7f"; // texts, none of which holds it
  const PARTS = ["sample", "draw", "benchmark", "group", "filter", "against", "words"];
  const form = document.getElementById("filters");
  const list = document.getElementById("found");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const copy = document.getElementById("copy");
  const section = document.getElementById("outputs");
  const field = name => form.elements[name];
  const marks = { right: "✓ right", wrong: "✗ wrong" };

  // A line of columns and, behind it, the texts that their numbers stand for.
  const unpack = async packed => {
    const signs = atob(packed);
    const bytes = new Uint8Array(signs.length);
    for (let n = 0; n < signs.length; n += 1) bytes[n] = signs.charCodeAt(n);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const plain = await new Response(stream).text();
    const end = plain.indexOf("\n");
    return { ...JSON.parse(plain.slice(0, end)), texts: plain.slice(end + 1).split(BETWEEN) };
  };

  if (!window.DecompressionStream) {
    count.textContent = "This browser is too old to unpack the outputs.";
    return;
  }
  const data = await unpack(document.getElementById("rows").textContent);
  const total = data.benchmark.length;
  let lower = null;
  let found = [];
  let shown = 0;
  let waiting = 0;

  const add = (parent, tag, classes, text) => {
    const made = document.createElement(tag);
    if (classes) made.className = classes;
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  };
  const prose = (parent, classes, text) => { add(parent, "p", classes, text).dir = "auto"; };

  // Groups ("category: counting") of the chosen benchmark, in order of appearance.
  const groupsOf = benchmark => {
    const lists = new Set(data.groups.filter((_, row) => benchmark === "" || data.benchmark[row] === benchmark));
    const names = new Set([...lists].flatMap(one => data.group_lists[one]));
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
    const within = data.group_lists.map(list => group === "" || list.includes(Number(group)));
    const hits = textHits(field("words").value.trim().toLowerCase());
    const rows = [];
    for (let row = 0; row < total; row += 1) {
      if (benchmark !== "" && data.benchmark[row] !== Number(benchmark)) continue;
      if (!within[data.groups[row]]) continue;
      if (!tests[verdict](row, Number(other))) continue;
      if (hits && !rowHit(hits, row)) continue;
      rows.push(row);
    }
    return rows;
  };

  // The rows of a sample: of all its draws, or of one.
  const rowsOf = (name, draw) => {
    const slash = name.indexOf("/");
    const benchmark = data.names.indexOf(name.slice(0, slash));
    const key = name.slice(slash + 1);
    const wanted = draw ? key + DRAW + draw : key;
    const rows = [];
    for (let row = 0; row < total; row += 1) {
      const text = data.texts[data.key[row]];
      if (data.benchmark[row] === benchmark
        && (text === wanted || (!draw && text.startsWith(key + DRAW)))) rows.push(row);
    }
    return rows;
  };

  const written = parts => PARTS.filter(name => parts[name])
    .map(name => `${name}=${encodeURIComponent(parts[name]).replaceAll("%2F", "/").replaceAll("%3A", ":")}`).join("&");
  const addressOfRow = row => {
    const text = data.texts[data.key[row]];
    const end = text.lastIndexOf(DRAW);
    const key = end < 0 ? text : text.slice(0, end);
    const draw = end < 0 ? "" : text.slice(end + DRAW.length);
    return written({ sample: `${data.names[data.benchmark[row]]}/${key}`, draw });
  };

  const picture = (parent, number, label) => {
    const [file, width, height] = data.pictures[number];
    const figure = add(parent, "figure", "shot");
    if (!file) {
      add(figure, "div", "lost", "image not available");
    } else {
      const image = document.createElement("img");
      Object.assign(image, { loading: "lazy", decoding: "async", width, height, alt: label });
      if (Math.max(width, height) <= 160) image.className = "pixels";
      image.src = file;
      const inPage = file.startsWith("data:");  // no browser opens such an address by itself
      const holder = inPage ? figure : add(figure, "a");
      if (!inPage) holder.href = file;
      holder.append(image);
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
      prose(made, "said", given || "(empty)");
    }
    const note = data.texts[data.note[run][row]];
    if (note && note !== given) prose(made, "note", note);
  };

  const card = row => {
    const benchmark = data.benchmark[row];
    const made = document.createElement("li");
    made.className = `row ${data.kinds[benchmark]}`;
    const head = add(made, "p", "place");
    add(head, "span", "", data.titles[benchmark]);
    if (data.tiny[benchmark]) add(head, "span", "chip tiny", "tiny");
    const key = add(head, "a", "key");
    key.href = `#${addressOfRow(row)}`;
    key.title = "Address of this output";
    add(key, "code", "", data.texts[data.key[row]]);
    for (const one of data.group_lists[data.groups[row]]) add(head, "span", "chip", data.texts[one]);
    const ask = add(made, "div", "ask");
    for (const one of data.picture_lists[data.shown[row]]) picture(ask, one, `Image of: ${data.texts[data.asked[row]]}`);
    const words = add(ask, "div", "asked");
    prose(words, "", data.texts[data.asked[row]]);
    const gold = data.texts[data.gold[row]];
    if (gold) add(words, "p", "gold", `gold: ${gold}`).dir = "auto";
    const sides = add(made, "div", "sides");
    data.runs.forEach((_, run) => side(sides, run, row));
    return made;
  };

  const showMore = step => {
    const rows = found.slice(shown, shown + step);
    const next = rows.map(card);
    list.append(...next);
    page.fold(next.flatMap(one => [...one.querySelectorAll(".said, .note, .asked > p")]));
    shown += next.length;
    more.hidden = shown >= found.length;
    return next[0];
  };

  const show = (rows, words) => {
    found = rows;
    shown = 0;
    list.replaceChildren();
    showMore(FIRST);
    count.textContent = `${found.length.toLocaleString("en")} of ${total.toLocaleString("en")} rows${words}`;
  };
  const refresh = () => show(select(), "");

  // What the form says, as an address; null where it says what it says at first.
  let first = "";
  let current = null;
  const addressOfForm = () => {
    const [filter, other] = field("verdict").value.split("-");
    const benchmark = field("benchmark").value;
    const group = field("group").value;
    const parts = {
      benchmark: benchmark === "" ? "" : data.names[Number(benchmark)],
      group: group === "" ? "" : data.texts[Number(group)],
      filter,
      against: other ? data.runs[Number(other)] : "",
      words: field("words").value.trim(),
    };
    const address = written(parts);
    return address === written({ filter: first }) ? null : address || "filter=any";
  };

  const read = hash => {
    const parts = {};
    for (const part of hash.replace(/^#/, "").split("&")) {
      const [name, ...rest] = part.split("=");
      if (!PARTS.includes(name) || !rest.length) continue;
      try {
        parts[name] = decodeURIComponent(rest.join("="));
      } catch {
        return null;
      }
    }
    return Object.keys(parts).length ? parts : null;
  };

  // The number of what an address names; it is said where this page has none of that name.
  const place = (names, name, kind, unknown) => {
    const number = names.indexOf(name);
    if (number < 0) unknown.push(`no ${kind} “${name}”`);
    return number < 0 ? "" : String(number);
  };

  const apply = address => {
    current = address;
    const parts = address === null ? null : read(address);
    const unknown = [];
    clearTimeout(waiting);
    for (const name of ["benchmark", "group", "words"]) field(name).value = "";
    field("verdict").value = parts ? "" : first;
    if (parts?.benchmark) field("benchmark").value = place(data.names, parts.benchmark, "benchmark", unknown);
    fillGroups();
    if (parts?.sample) {
      const rows = rowsOf(parts.sample, parts.draw);
      const [of, ...key] = parts.sample.split("/");
      show(rows, rows.length ? `: ${key.join("/")} of ${of}` : `; this page has no sample “${parts.sample}”`);
      return;
    }
    if (parts?.group) field("group").value = place(data.texts, parts.group, "group", unknown);
    if (parts?.filter && parts.filter !== "any") {
      const other = parts.against ? place(data.runs, parts.against, "baseline", unknown) : "";
      field("verdict").value = parts.filter + (other && `-${other}`);
    }
    for (const name of ["group", "verdict"]) {
      if (field(name).selectedIndex < 0) {
        unknown.push(`no such ${name === "group" ? "group there" : "filter"}`);
        field(name).value = "";
      }
    }
    field("words").value = parts?.words ?? "";
    if (unknown.length) show([], `; this page has ${unknown.join(", ")}`);
    else refresh();
  };

  // An address that was chosen by hand gets a place in the history, so that "back" leads out again.
  const go = address => {
    const state = { address };
    if (address === current) return;
    current = address;
    history.pushState(state, "", `#${address ?? "outputs"}`);
  };
  const note = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => go(addressOfForm()), PAUSE);
  };
  const changed = () => { refresh(); note(); };
  const intoView = () => section.scrollIntoView();

  field("benchmark").addEventListener("change", () => { fillGroups(); changed(); });
  form.addEventListener("change", event => { if (event.target.name !== "benchmark") changed(); });
  field("words").addEventListener("input", changed);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { apply(null); history.pushState({ address: null }, "", "#outputs"); }));
  more.addEventListener("click", () => {
    const next = showMore(STEP);
    if (next) { next.tabIndex = -1; next.focus(); }
  });
  copy.addEventListener("click", async () => {
    clearTimeout(waiting);
    if (read(current ?? "")?.sample === undefined) go(addressOfForm());
    const [here] = location.href.split("#");
    await page.copy(`${here}#${current ?? "outputs"}`);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy link"; }, NOTED);
  });
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#']");
    const parts = link && read(link.getAttribute("href"));
    if (!parts || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const address = written(parts);
    go(address);
    apply(address);
    intoView();
  });
  window.addEventListener("popstate", event => {
    if (event.state && "address" in event.state) {
      if (event.state.address !== current) apply(event.state.address);
    } else if (read(location.hash)) {
      apply(written(read(location.hash)));
      history.replaceState({ address: current }, "");
      intoView();
    } else {
      history.replaceState({ address: current }, "");
    }
  });

  // What the page itself refers to becomes a link where this browser knows it.
  const known = new Set(data.group_lists.flat().map(one => data.texts[one]));
  for (const link of document.querySelectorAll("a[data-address]")) {
    const parts = read(link.dataset.address);
    if (parts && (!parts.group || known.has(parts.group))) link.href = `#${link.dataset.address}`;
  }

  form.hidden = false;
  copy.hidden = false;
  fillGroups();
  first = field("verdict").value;
  const asked = read(location.hash);
  if (asked) {
    apply(written(asked));
    intoView();
  } else {
    refresh();
    if (!found.length && first) {
      first = field("verdict").value = "";
      refresh();
    }
  }
  history.replaceState({ address: current }, "");
  performance.mark("outputs");
  setTimeout(lowered, 300);
})();
