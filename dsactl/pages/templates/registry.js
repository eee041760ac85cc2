"use strict";

// Sorting: the head of each column becomes a button. Rows without a number come last, whatever the order.
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function keyOf(row, column, kind) {
  const cell = row.cells[column];
  return kind === "number" ? Number(cell.dataset.value) : cell.textContent.trim();
}

function compare(a, b, kind) {
  return kind === "number" ? a - b : collator.compare(a, b);
}

function sortBy(table, head) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  const { by } = head.dataset;
  const missing = (key) => by === "number" && key < 0;
  const rows = [...table.tBodies[0].rows].map((row) => [keyOf(row, head.cellIndex, by), row]);
  rows.sort(([a], [b]) => missing(a) - missing(b) || (up ? 1 : -1) * compare(a, b, by));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    if (!head.dataset.by) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head));
    head.append(button);
  }
}

// Filtering: a row is shown if it has every word, in any column.
const rows = [...document.querySelectorAll("table.sortable tbody tr")];
const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
const field = document.getElementById("filter");
const count = document.querySelector(".tools output");

function filter() {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    row.hidden = !words.every((word) => texts.get(row).includes(word));
    shown += row.hidden ? 0 : 1;
  }
  count.textContent = words.length ? `${shown} of ${rows.length}` : "";
}

field.addEventListener("input", filter);
document.querySelector(".tools").hidden = false;
filter(); // the browser may have kept what was typed before the page was loaded again
