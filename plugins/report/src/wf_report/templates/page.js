"use strict";
// Without this script the page shows everything; it adds sorting, zooming, and values under the pointer.
const SVG = "http://www.w3.org/2000/svg";

function sortable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const keyed = [...body.rows].map((row) => [row, key(row.cells[column])]);
      keyed.sort(([, a], [, b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // empty cells stay last
        const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
        return down ? -order : order;
      });
      body.append(...keyed.map(([row]) => row));
    });
  });
}

function key(cell) {
  if (cell.textContent === "") return null;
  if (!("value" in cell.dataset)) return cell.textContent;
  const value = Number(cell.dataset.value);
  return Number.isNaN(value) ? null : value;
}

function shown(value) {
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  return String(Number(value.toPrecision(4)));
}

class Chart {
  constructor(figure, svg) {
    const data = svg.dataset, pair = (text) => text.split(" ").map(Number);
    this.figure = figure;
    this.svg = svg;
    this.tip = figure.querySelector(".tip");
    this.box = { left: +data.left, right: +data.right, top: +data.top, bottom: +data.bottom };
    this.log = data.log === "1";
    this.whole = { x: pair(data.x), y: pair(data.y) };
    this.now = structuredClone(this.whole);
    this.series = [...svg.querySelectorAll(".series")].map((group) => ({
      group, name: group.dataset.name,
      points: group.dataset.points.split(" ").filter(Boolean).map((text) => text.split(",")).map(([x, y]) => [Number(x), y === "" ? NaN : Number(y)]),
    }));
    this.at = null;
    this.tools();
    this.listen();
  }

  place(x, y) {
    const { left, right, top, bottom } = this.box, [x0, x1] = this.now.x, scale = this.log ? Math.log10 : (v) => v;
    const [y0, y1] = this.now.y.map(scale);
    return [left + (x - x0) / (x1 - x0) * (right - left), bottom - (scale(y) - y0) / (y1 - y0) * (bottom - top)];
  }

  tools() {
    const row = document.createElement("div");
    row.className = "tools";
    for (const [text, label, act] of [["+", "Zoom in", () => this.zoom(0.5)], ["\u2212", "Zoom out", () => this.zoom(2)], ["Reset", "Reset the zoom", () => this.show(this.whole)]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `${label}: ${this.figure.querySelector("strong").textContent}`);
      button.addEventListener("click", act);
      row.append(button);
    }
    this.figure.querySelector(".plot").before(row);
  }

  zoom(factor) {
    const [x0, x1] = this.now.x, [low, high] = this.whole.x, middle = (x0 + x1) / 2, half = (x1 - x0) / 2 * factor;
    this.showX(Math.max(low, middle - half), Math.min(high, middle + half));
  }

  showX(x0, x1) {
    if (!(x1 - x0 > (this.whole.x[1] - this.whole.x[0]) / 1e4)) return;
    if (x0 <= this.whole.x[0] && x1 >= this.whole.x[1]) return this.show(this.whole);
    const seen = this.visible().flatMap((one) => one.points).filter(([x, y]) => x >= x0 && x <= x1 && !Number.isNaN(y)).map(([, y]) => y);
    let y = this.now.y;
    if (seen.length) {
      const low = Math.min(...seen), high = Math.max(...seen), room = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
      y = this.log ? [low / 1.1, high * 1.1] : [low - room, high + room];
    }
    this.show({ x: [x0, x1], y });
  }

  show(range) {
    this.now = structuredClone(range);
    this.axes();
    for (const { group, points } of this.series) {
      let pen = "M", path = "";
      const dots = [...group.querySelectorAll("circle")], finite = points.filter(([, y]) => !Number.isNaN(y));
      for (const [x, y] of points) {
        if (Number.isNaN(y)) { pen = "M"; continue; }
        const [px, py] = this.place(x, y);
        path += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`;
        pen = "L";
      }
      group.querySelector("path")?.setAttribute("d", path);
      dots.forEach((dot, index) => {
        const [px, py] = this.place(...finite[index]);
        dot.setAttribute("cx", px.toFixed(1));
        dot.setAttribute("cy", py.toFixed(1));
      });
    }
    this.near(null);
  }

  axes() {
    const { left, right, top, bottom } = this.box, group = this.svg.querySelector(".axes"), parts = [];
    const line = (x1, x2, y1, y2) => parts.push(make("line", { x1, x2, y1, y2, class: "grid" }));
    const text = (x, y, anchor, words) => { const one = make("text", { x, y, "text-anchor": anchor }); one.textContent = words; parts.push(one); };
    for (const value of ticks(...this.now.x, 7)) { const [x] = this.place(value, this.now.y[0]); line(x, x, top, bottom); text(x, bottom + 16, "middle", shown(value)); }
    for (const value of this.log ? decades(...this.now.y) : ticks(...this.now.y, 5)) { const [, y] = this.place(this.now.x[0], value); line(left, right, y, y); text(left - 6, y + 4, "end", shown(value)); }
    text((left + right) / 2, bottom + 34, "middle", this.svg.dataset.xlabel);
    const label = make("text", { transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" });
    label.textContent = this.svg.dataset.ylabel;
    group.replaceChildren(...parts, label);
  }

  visible() {
    return this.series.filter(({ group }) => getComputedStyle(group).display !== "none");
  }

  listen() {
    let begin = null;
    const here = (event) => { const box = this.svg.getBoundingClientRect(), view = this.svg.viewBox.baseVal; return [(event.clientX - box.left) / box.width * view.width, (event.clientY - box.top) / box.height * view.height]; };
    const value = (px) => this.now.x[0] + (Math.min(Math.max(px, this.box.left), this.box.right) - this.box.left) / (this.box.right - this.box.left) * (this.now.x[1] - this.now.x[0]);
    this.svg.addEventListener("pointerdown", (event) => { if (event.button === 0 && event.pointerType === "mouse") begin = here(event)[0]; });
    this.svg.addEventListener("pointermove", (event) => {
      const [px, py] = here(event);
      this.svg.querySelector(".band")?.remove();
      if (begin !== null && Math.abs(px - begin) > 4) this.svg.append(make("rect", { x: Math.min(px, begin), y: this.box.top, width: Math.abs(px - begin), height: this.box.bottom - this.box.top, class: "band" }));
      let best = null, least = 40 ** 2;
      for (const one of this.visible()) for (const point of one.points) {
        if (Number.isNaN(point[1]) || point[0] < this.now.x[0] || point[0] > this.now.x[1]) continue;
        const [x, y] = this.place(...point), far = (x - px) ** 2 + (y - py) ** 2;
        if (far < least) [least, best] = [far, [one, point]];
      }
      this.near(best);
    });
    window.addEventListener("pointerup", (event) => {
      if (begin === null) return;
      const end = here(event)[0], ends = [value(begin), value(end)].sort((a, b) => a - b);
      this.svg.querySelector(".band")?.remove();
      if (Math.abs(end - begin) > 8) this.showX(...ends);
      begin = null;
    });
    this.svg.addEventListener("pointerleave", () => this.near(null));
    this.svg.addEventListener("dblclick", () => this.show(this.whole));
    this.svg.addEventListener("blur", () => this.near(null));
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.figure.querySelector(".legend")?.addEventListener("change", () => this.near(null));
  }

  key(event) {
    const all = this.visible().flatMap((one) => one.points.filter(([x, y]) => !Number.isNaN(y) && x >= this.now.x[0] && x <= this.now.x[1]).map((point) => [one, point]));
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && all.length) {
      const now = this.at ? all.findIndex(([one, point]) => one === this.at[0] && point === this.at[1]) : -1;
      this.near(all[now < 0 ? 0 : (now + step + all.length) % all.length]);
    } else if (event.key === "+") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "0" || event.key === "Escape") this.show(this.whole);
    else return;
    event.preventDefault();
  }

  near(found) {
    this.at = found;
    this.svg.querySelector(".near")?.remove();
    this.tip.textContent = found ? `${found[0].name}: ${this.svg.dataset.xlabel || "x"} ${shown(found[1][0])}, ${shown(found[1][1])}` : "";
    if (!found) return;
    const [x, y] = this.place(...found[1]), view = this.svg.viewBox.baseVal;
    this.svg.append(make("circle", { cx: x, cy: y, r: 6, class: "near" }));
    const wide = this.svg.getBoundingClientRect().width, high = this.svg.getBoundingClientRect().height;
    this.tip.style.left = `${Math.max(0, Math.min(x / view.width * wide - this.tip.offsetWidth / 2, wide - this.tip.offsetWidth))}px`;
    const above = y / view.height * high - this.tip.offsetHeight - 10;
    this.tip.style.top = `${above < 0 ? y / view.height * high + 12 : above}px`;
  }
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function ticks(low, high, most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number++) found.push(Number((number * step).toPrecision(10)));
  return found;
}

function decades(low, high) {
  if (high / low <= 10) return ticks(low, high, 5);
  const found = [];
  for (let power = Math.ceil(Math.log10(low)); power <= Math.log10(high); power++) found.push(10 ** power);
  return found;
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("figure").forEach((figure) => {
  const svg = figure.querySelector("svg[data-x]");
  if (svg) new Chart(figure, svg);
});
window.addEventListener("beforeprint", () => document.querySelectorAll("details:not(.values)").forEach((one) => { one.open = true; }));
