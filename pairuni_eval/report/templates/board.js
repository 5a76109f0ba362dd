// The board: filters runs by words, benchmark and checkpoint, and shows how two runs compare: what a
// report says of them, else the command that compares them. Every text is set as text.
(() => {
  const NOTED = 2000; // milliseconds that "Copied" stands
  const FIRST = 40; // rows of a table that are shown until a reader asks for all
  const form = document.getElementById("filters");
  const count = document.getElementById("count");
  const panel = document.getElementById("chosen");
  const answer = document.getElementById("answer");
  const runs = [...document.querySelectorAll("tr[data-run]")].map(row => ({
    row,
    name: row.cells[0].textContent.trim().replace(/\s+/g, " "),
    typed: row.dataset.typed,
    words: row.textContent.toLowerCase(),
    checkpoint: row.dataset.checkpoint,
    benchmarks: row.dataset.benchmarks.split(" "),
  }));
  const runOf = row => Number(row.dataset.of ?? row.dataset.run);
  const tables = [...document.querySelectorAll("table.ranks")].map(table => ({
    part: table.closest(".kind-of"), body: table.tBodies[0], head: table.tHead, whole: false,
  }));
  const sections = [...document.querySelectorAll("section.board")].map(part => ({
    part, number: part.dataset.benchmark, tables: [...part.querySelectorAll(".kind-of")],
  }));
  let kept = runs.map(() => true);

  const show = (one, shown) => { if (one.hidden === shown) one.hidden = !shown; };

  // Of the rows that are kept, the first few in the order that they stand in; on paper all.
  const fill = table => {
    let shown = 0;
    for (const row of table.body.rows) {
      const mine = kept[runOf(row)];
      shown += mine;
      show(row, mine);
      row.classList.toggle("beyond", mine && !table.whole && shown > FIRST);
    }
    if (table.part) show(table.part, shown > 0);
    show(table.more, !table.whole && shown > FIRST);
    table.more.textContent = `Show all ${shown} rows`;
  };

  const filter = () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const benchmark = form.elements.benchmark.value;
    const checkpoint = form.elements.checkpoint.value;
    kept = runs.map(run => words.every(word => run.words.includes(word))
      && (checkpoint === "" || run.checkpoint === checkpoint)
      && (benchmark === "" || run.benchmarks.includes(benchmark)));
    tables.forEach(fill);
    sections.forEach(one => show(one.part, (benchmark === "" || one.number === benchmark)
      && one.tables.some(part => !part.hidden)));
    const left = kept.filter(Boolean).length;
    count.textContent = left === runs.length ? "" : `${left} of ${runs.length} runs`;
  };

  const commandFor = (a, b) => `pairuni-eval compare ${runs[a].typed} ${runs[b].typed}`;
  const add = (parent, tag, text) => {
    const made = document.createElement(tag);
    made.textContent = text;
    parent.append(made);
    return made;
  };
  const storedOf = (a, b) => document.querySelector(`details.compared[data-ours="${a}"][data-theirs="${b}"]`);

  let chosen = [];
  const tell = () => {
    document.querySelectorAll("button.choose").forEach(one => {
      one.setAttribute("aria-pressed", String(chosen.includes(Number(one.dataset.run))));
    });
    show(panel, chosen.length > 0);
    answer.replaceChildren();
    const said = document.getElementById("pair");
    for (const id of ["swap", "copy"]) show(document.getElementById(id), chosen.length === 2);
    if (chosen.length < 2) {
      said.textContent = chosen.length ? `${runs[chosen[0]].name}: choose the run to compare it with.` : "";
      return;
    }
    const [a, b] = chosen;
    said.textContent = `${runs[a].name} against ${runs[b].name}`;
    const found = storedOf(a, b) || storedOf(b, a);
    if (found) {
      const shown = found.cloneNode(true);
      shown.open = true;
      answer.append(shown);
    } else {
      add(answer, "p", "No report holds this comparison. This command makes it:");
    }
    const command = add(answer, "pre", "");
    command.className = "command";
    add(command, "code", commandFor(a, b));
  };

  const choose = run => {
    chosen = chosen.includes(run) ? chosen.filter(one => one !== run) : [...chosen, run].slice(-2);
    tell();
  };

  const pattern = document.createElement("button");
  pattern.type = "button";
  pattern.className = "choose";
  pattern.textContent = "compare";
  pattern.setAttribute("aria-pressed", "false");
  const offer = (row, run) => {
    const made = pattern.cloneNode(true);
    made.dataset.run = String(run);
    made.setAttribute("aria-label", `compare ${runs[run].name}`);
    row.cells[0].append(" ", made);
  };
  for (const table of tables) {
    for (const row of table.body.rows) offer(row, runOf(row));
    table.more = document.createElement("button");
    table.more.type = "button";
    table.body.closest(".scroll").after(table.more);
    table.more.addEventListener("click", () => { table.whole = true; fill(table); });
    table.head.addEventListener("click", () => fill(table)); // sorted by then: the click rises
    fill(table);
  }

  document.getElementById("content").addEventListener("click", event => {
    const pressed = event.target.closest("button.choose");
    if (pressed) choose(Number(pressed.dataset.run));
  });
  document.getElementById("unchoose").addEventListener("click", () => { chosen = []; tell(); });
  document.getElementById("swap").addEventListener("click", () => { chosen.reverse(); tell(); });
  const copy = document.getElementById("copy");
  copy.addEventListener("click", async () => {
    await page.copy(commandFor(...chosen));
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy the command"; }, NOTED);
  });
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
})();
