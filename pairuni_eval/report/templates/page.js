"use strict";
// What every page can do beyond being read: tables sort by a click on a heading, long texts are
// folded until a reader opens them; a table of numbers that no order fits does not sort. Without this script everything is there, unsorted and whole.
const page = (() => {
  const FOLDED = 320; // characters and lines that are never folded
  const LINES = 12;
  const MISSING = /^[\s–-]*$/;
  const NUMBER = /[-−+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?/;
  const ORDERS = { none: "ascending", ascending: "descending", descending: "none" };

  const button = (classes, text) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = classes;
    made.textContent = text;
    return made;
  };

  // Long texts show their beginning and a control that opens the rest; all are measured at once.
  // One that no one sees yet has no height and goes by its length alone.
  const isLong = one => {
    const text = one.textContent;
    return text.length > FOLDED || text.split("\n").length > LINES;
  };
  const fold = texts => {
    const long = [...texts].filter(isLong);
    long.forEach(one => one.classList.add("folded"));
    const cut = long.map(one => !one.clientHeight || one.scrollHeight > one.clientHeight + 1);
    long.forEach((one, n) => {
      if (cut[n]) addControl(one);
      else one.classList.remove("folded");
    });
  };
  const addControl = one => {
    const control = button("unfold", "");
    const set = open => {
      one.classList.toggle("folded", !open);
      control.setAttribute("aria-expanded", String(open));
      control.textContent = open ? "Show less" : `Show all ${one.textContent.length.toLocaleString("en")} characters`;
    };
    control.addEventListener("click", () => set(one.classList.contains("folded")));
    set(false);
    one.after(control);
  };

  const written = cell => cell.dataset.sort ?? cell.textContent.trim();
  const numberIn = text => {
    const found = text.match(NUMBER);
    return found ? Number(found[0].replace("−", "-").replaceAll(",", "")) : NaN;
  };

  // Numbers by size, words by the alphabet; cells without either stay last in both directions.
  const compare = (column, falling) => {
    const numeric = column.every(text => MISSING.test(text) || !Number.isNaN(numberIn(text)));
    const sign = falling ? -1 : 1;
    return (a, b) => {
      if (MISSING.test(a) || MISSING.test(b)) return MISSING.test(a) - MISSING.test(b);
      return sign * (numeric ? numberIn(a) - numberIn(b) : a.localeCompare(b, "en"));
    };
  };

  const arrange = (table, place, order) => {
    for (const body of table.tBodies) {
      const fixed = [...body.rows].filter(row => row.cells.length <= place);
      const rows = [...body.rows].filter(row => row.cells.length > place);
      rows.forEach((row, n) => { row.dataset.place ??= String(n); });
      rows.sort((a, b) => Number(a.dataset.place) - Number(b.dataset.place));
      if (order !== "none") {
        const inOrder = compare(rows.map(row => written(row.cells[place])), order === "descending");
        rows.sort((a, b) => inOrder(written(a.cells[place]), written(b.cells[place])));
      }
      body.append(...fixed, ...rows);
    }
  };

  const sortable = table => {
    const heads = table.tHead?.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
    const several = [...table.tBodies].some(body => body.rows.length > 2);
    if (!several || heads.some(head => head.colSpan > 1)) return;
    heads.forEach((head, place) => {
      if (head.classList.contains("plot") || !head.textContent.trim()) return;
      const control = button("sort", "");
      control.append(...head.childNodes);
      head.append(control);
      control.addEventListener("click", () => {
        const order = ORDERS[head.getAttribute("aria-sort") ?? "none"];
        heads.forEach(one => one.removeAttribute("aria-sort"));
        if (order !== "none") head.setAttribute("aria-sort", order);
        arrange(table, place, order);
      });
    });
  };

  // Where the browser keeps its clipboard from a page, the old way through a selection.
  const copy = async text => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const held = document.createElement("textarea");
      held.value = text;
      document.body.append(held);
      held.select();
      document.execCommand("copy");
      held.remove();
    }
  };

  document.querySelectorAll("main table:not([data-unordered])").forEach(sortable);
  fold(document.querySelectorAll("main :is(.said, .asked, td.words)"));
  return { copy, fold };
})();
