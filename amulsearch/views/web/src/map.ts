// A map of pictures on a canvas: zoom and drag by mouse, touch and keyboard, a click, and a lasso.

import { select } from "d3-selection";
import { zoom, zoomIdentity, type ZoomTransform } from "d3-zoom";
import { button, element, nameOf } from "./dom";
import type { Sheets } from "./sheets";

export interface Layout {
  name: string;
  columns: number;
  rows: number;
  cells: Uint32Array; // column and row of each picture
  frames?: string[]; // the colour of the frame of each picture
  legend?: Record<string, string>; // group -> colour
}

/** What a map calls when pictures are clicked, pointed at or surrounded. */
export interface Listener {
  query(id: string): void;
  select(ids: string[], add: boolean): void;
}

const COLOURS = { query: "#e69f00", hit: "#0072b2", selected: "#d55e00" };
const SLOW = 20; // milliseconds; if a sharp frame takes longer, the map is drawn from its overview while it moves
const PIXELS = 16e6; // of the overview

export class MapView {
  readonly canvas = document.createElement("canvas");
  layout!: Layout;
  lasso = false;
  private at: Map<number, number> = new Map(); // cell -> row of the picture
  private transform: ZoomTransform = zoomIdentity;
  private readonly behaviour = zoom<HTMLCanvasElement, unknown>();
  private whole: HTMLCanvasElement | null = null; // all pictures, small
  private due = false; // whether a frame is to be drawn
  private moving = false;
  private sharp = 0; // milliseconds of the last sharp frame
  private rest = 0; // the timer that ends a movement
  private line: [number, number][] = [];
  private marks = { query: -1, hits: [] as number[], selected: [] as number[] };

  constructor(
    private readonly sheets: Sheets,
    private readonly listener: Listener,
    private readonly hover: (id: string | null) => void,
  ) {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    const target = select(this.canvas);
    this.behaviour
      .scaleExtent([0.8, 40])
      .filter((event: Event) => !this.lasso && !(event as PointerEvent).button && !(event.type === "dblclick"))
      .on("zoom", (event) => {
        this.transform = event.transform;
        this.moving = true;
        clearTimeout(this.rest);
        this.rest = window.setTimeout(() => {
          this.moving = false;
          this.draw();
        }, 150);
        this.draw();
      });
    target.call(this.behaviour);
    this.canvas.addEventListener("click", (event) => {
      const row = this.rowAt(event.offsetX, event.offsetY);
      if (!this.lasso && row !== undefined) this.listener.query(this.sheets.ids[row]);
    });
    this.canvas.addEventListener("mousedown", (event) => {
      event.preventDefault(); // a focus that scrolls would move the map from under the pointer
      this.canvas.focus({ preventScroll: true });
    });
    this.canvas.addEventListener("pointerdown", (event) => this.start(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", (event) => this.end(event));
    this.canvas.addEventListener("pointercancel", () => this.stop());
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  show(layout: Layout) {
    this.layout = layout;
    this.marks.query = -1;
    this.at = new Map();
    this.sheets.ids.forEach((_, row) => this.at.set(this.cell(layout.cells[2 * row], layout.cells[2 * row + 1]), row));
    this.canvas.setAttribute(
      "aria-label",
      `Map ${layout.name}: similar pictures lie near each other. Arrow keys move, plus and minus zoom, Enter asks with the picture in the middle.`,
    );
    this.whole = null;
    this.draw();
  }

  /** Frame pictures, and bring a query into view if it is another one than before. */
  mark(query: string, hits: Iterable<string>, selected: Iterable<string>) {
    const rows = (ids: Iterable<string>) => [...ids].flatMap((id) => this.sheets.rows.get(id) ?? []);
    const [row = -1] = rows([query]);
    if (row >= 0 && row !== this.marks.query) this.centre(row);
    this.marks = { query: row, hits: rows(hits), selected: rows(selected) };
    this.draw();
  }

  /** A sheet of thumbnails has arrived. */
  refresh(sheet: number) {
    if (this.whole) this.fill(this.whole, this.sheets.start(sheet), this.sheets.start(sheet + 1));
    this.draw();
  }

  zoomBy(factor: number) {
    select(this.canvas).call(this.behaviour.scaleBy, factor);
  }

  reset() {
    select(this.canvas).call(this.behaviour.transform, zoomIdentity);
  }

  /** Bring a picture into view, if it is not. */
  private centre(row: number) {
    const [x, y] = this.position(row), { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || (x >= 0 && y >= 0 && x <= width && y <= height)) return;
    const [u, v] = this.transform.invert([x, y]);
    select(this.canvas).call(this.behaviour.translateTo, u, v);
  }

  /** The middle of a picture on the canvas. */
  position(row: number): [number, number] {
    const [step, left, top] = this.scale();
    const [column, line] = [this.layout.cells[2 * row], this.layout.cells[2 * row + 1]];
    return this.transform.apply([left + (column + 0.5) * step, top + (line + 0.5) * step]);
  }

  private cell(column: number, row: number) {
    return row * this.layout.columns + column;
  }

  /** The side of a cell and the corner of the map, before zooming. */
  private scale(): [number, number, number] {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const step = Math.max(Math.min(width / this.layout.columns, height / this.layout.rows), 0.1);
    return [step, (width - step * this.layout.columns) / 2, (height - step * this.layout.rows) / 2];
  }

  private rowAt(x: number, y: number): number | undefined {
    const [step, left, top] = this.scale(), [u, v] = this.transform.invert([x, y]);
    const column = Math.floor((u - left) / step), row = Math.floor((v - top) / step);
    return column >= 0 && column < this.layout.columns ? this.at.get(this.cell(column, row)) : undefined;
  }

  private draw() {
    if (this.due || !this.layout) return;
    this.due = true;
    requestAnimationFrame(() => {
      this.due = false;
      this.paint();
    });
  }

  private paint() {
    const { canvas, layout } = this, density = Math.min(window.devicePixelRatio || 1, 2);
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * density)) canvas.width = Math.round(width * density);
    if (canvas.height !== Math.round(height * density)) canvas.height = Math.round(height * density);
    const context = canvas.getContext("2d")!;
    context.setTransform(density, 0, 0, density, 0, 0);
    context.clearRect(0, 0, width, height);
    const [step, left, top] = this.scale(), { k, x, y } = this.transform, side = step * k;
    const whole = this.overview(), start = performance.now();
    if (side * density <= whole.width / layout.columns || (this.moving && this.sharp > SLOW)) {
      context.drawImage(whole, left * k + x, top * k + y, step * layout.columns * k, step * layout.rows * k);
    } else {
      const gap = side > 12 ? Math.min(side * 0.04, 3) : 0, { cells } = layout;
      this.sheets.ids.forEach((_, row) => {
        const [u, v] = [(left + cells[2 * row] * step) * k + x, (top + cells[2 * row + 1] * step) * k + y];
        if (u > -side && v > -side && u < width && v < height) this.stamp(context, row, u + gap, v + gap, side - 2 * gap);
      });
      this.sharp = performance.now() - start;
    }
    const frame = (row: number, colour: string, thick: number) => {
      const [u, v] = this.position(row), half = Math.max(side / 2, 4);
      if (side < 16 && thick < 4) {
        context.fillStyle = `${colour}99`;
        context.fillRect(u - half, v - half, 2 * half, 2 * half);
        return;
      }
      context.strokeStyle = "#ffffff";
      context.lineWidth = thick + 2;
      context.strokeRect(u - half, v - half, 2 * half, 2 * half);
      context.strokeStyle = colour;
      context.lineWidth = thick;
      context.strokeRect(u - half, v - half, 2 * half, 2 * half);
    };
    for (const row of this.marks.selected) frame(row, COLOURS.selected, 2);
    for (const row of this.marks.hits) frame(row, COLOURS.hit, 2);
    if (this.marks.query >= 0) frame(this.marks.query, COLOURS.query, 4);
    if (this.line.length) {
      context.beginPath();
      for (const [u, v] of this.line) context.lineTo(u, v);
      context.closePath();
      context.fillStyle = "#d55e0022";
      context.strokeStyle = COLOURS.selected;
      context.lineWidth = 2;
      context.fill();
      context.stroke();
    }
    if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
      context.strokeStyle = COLOURS.hit;
      context.beginPath();
      context.moveTo(width / 2 - 8, height / 2);
      context.lineTo(width / 2 + 8, height / 2);
      context.moveTo(width / 2, height / 2 - 8);
      context.lineTo(width / 2, height / 2 + 8);
      context.stroke();
    }
  }

  private stamp(context: CanvasRenderingContext2D, row: number, x: number, y: number, side: number) {
    const colour = this.layout.frames?.[row], thick = colour ? side / 20 : 0;
    if (colour) {
      context.fillStyle = colour;
      context.fillRect(x, y, side, side);
    }
    this.sheets.draw(context, row, x + thick, y + thick, side - 2 * thick);
  }

  /** All pictures, small. */
  private overview(): HTMLCanvasElement {
    if (this.whole) return this.whole;
    const { columns, rows } = this.layout, side = Math.max(6, Math.min(32, Math.floor(Math.sqrt(PIXELS / (columns * rows)))));
    this.whole = document.createElement("canvas");
    this.whole.width = columns * side;
    this.whole.height = rows * side;
    this.fill(this.whole, 0, this.sheets.ids.length);
    return this.whole;
  }

  /** Draw some pictures on the overview, as far as their sheets have arrived. */
  private fill(whole: HTMLCanvasElement, from: number, to: number) {
    const context = whole.getContext("2d")!, side = whole.width / this.layout.columns, { cells } = this.layout;
    for (let row = from; row < to; row++) this.stamp(context, row, cells[2 * row] * side, cells[2 * row + 1] * side, side - 1);
  }

  private start(event: PointerEvent) {
    if (!this.lasso || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.line = [[event.offsetX, event.offsetY]];
  }

  private move(event: PointerEvent) {
    if (this.line.length) {
      this.line.push([event.offsetX, event.offsetY]);
      this.draw();
    } else this.hover(this.sheets.ids[this.rowAt(event.offsetX, event.offsetY) ?? -1] ?? null);
  }

  private end(event: PointerEvent) {
    if (!this.line.length) return;
    const line = this.line;
    this.stop();
    this.listener.select(this.sheets.ids.filter((_, row) => within(this.position(row), line)), event.shiftKey);
  }

  private stop() {
    this.line = [];
    this.draw();
  }

  private key(event: KeyboardEvent) {
    const far = 60, target = select(this.canvas);
    const by = (x: number, y: number) => target.call(this.behaviour.translateBy, x / this.transform.k, y / this.transform.k);
    const keys: Record<string, () => void> = {
      "+": () => this.zoomBy(1.5), "=": () => this.zoomBy(1.5), "-": () => this.zoomBy(1 / 1.5), "0": () => this.reset(),
      ArrowLeft: () => by(far, 0), ArrowRight: () => by(-far, 0), ArrowUp: () => by(0, far), ArrowDown: () => by(0, -far),
      Enter: () => this.listener.query(this.nearest(this.canvas.clientWidth / 2, this.canvas.clientHeight / 2)),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  private nearest(x: number, y: number): string {
    const far = this.sheets.ids.map((_, row) => {
      const [u, v] = this.position(row);
      return (u - x) ** 2 + (v - y) ** 2;
    });
    return this.sheets.ids[far.indexOf(far.reduce((least, other) => Math.min(least, other)))];
  }
}

/** One or two maps side by side, with their buttons and a legend; Escape puts the lasso away. */
export class MapPanel {
  readonly views: MapView[];
  readonly parts: HTMLElement[];
  private readonly hovered = element("span", { class: "am-hovered", hidden: true });
  private readonly choices: HTMLSelectElement[];

  constructor(
    sheets: Sheets, private readonly layouts: Layout[], root: HTMLElement, listener: Listener,
    change: (names: string[]) => void = () => {},
  ) {
    this.views = layouts.slice(0, 2).map(() => new MapView(sheets, listener, (id) => this.hover(id)));
    const choice = (label: string, none: boolean) =>
      element("select", { "aria-label": label, onchange: () => change(this.choices.map((one) => one.value).filter(Boolean)) },
        none ? element("option", { value: "" }, "no second map") : null,
        ...layouts.map(({ name }) => element("option", { value: name }, `map: ${name}`)));
    this.choices = layouts.length > 1 ? [choice("Map", false), choice("Second map, beside the first", true)] : [];
    const zoom = (by: number) => this.views.forEach((view) => view.layout && (by ? view.zoomBy(by) : view.reset()));
    const lasso = (on: boolean) => {
      for (const view of this.views) view.lasso = on;
      tool.setAttribute("aria-pressed", String(on));
      root.classList.toggle("am-lasso", on);
    };
    const tool = button("Lasso", () => lasso(!this.views[0].lasso), {
      "aria-pressed": "false", title: "Draw around pictures to select them; with Shift, to add them",
    });
    root.onkeydown = (event) => { // one handler, also if the maps are made again
      if (event.key === "Escape") lasso(false);
    };
    const legend = Object.entries(layouts[0].legend ?? {}).map(([name, colour]) =>
      element("li", {}, element("i", { style: `background: ${colour}` }), name));
    this.parts = [
      element("div", { class: "am-bar" }, ...this.choices,
        button("+", () => zoom(1.5), { title: "Zoom in", "aria-label": "Zoom in" }),
        button("−", () => zoom(1 / 1.5), { title: "Zoom out", "aria-label": "Zoom out" }),
        button("all", () => zoom(0), { title: "Show the whole map" }), tool),
      element("div", { class: "am-maps" },
        ...this.views.map((view) => element("div", { class: "am-canvas" }, view.canvas)), this.hovered),
      element("ul", { class: "am-legend", hidden: !legend.length }, ...legend),
    ];
  }

  /** Show the maps of these names, or the first one. */
  show(names: string[]) {
    const shown = names.flatMap((name) => this.layouts.find((layout) => layout.name === name) ?? []);
    this.views.forEach((view, place) => {
      const layout = shown[place] ?? (place ? undefined : this.layouts[0]);
      view.canvas.parentElement!.hidden = !layout;
      if (layout && view.layout !== layout) view.show(layout);
      if (this.choices.length) this.choices[place].value = layout?.name ?? "";
    });
  }

  hover(id: string | null) {
    this.hovered.textContent = id === null ? "" : nameOf(id);
    this.hovered.hidden = id === null;
  }
}

/** Whether a point lies in a polygon (even-odd rule). */
function within([x, y]: [number, number], line: [number, number][]) {
  let inside = false;
  for (let at = 0, before = line.length - 1; at < line.length; before = at++) {
    const [a, b] = line[at], [c, d] = line[before];
    if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) inside = !inside;
  }
  return inside;
}
