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
}

/** What a map calls when pictures are clicked, pointed at or surrounded. */
export interface Listener {
  query(id: string): void;
  select(ids: string[], add: boolean): void;
}

const COLOURS = { query: "#e69f00", hit: "#0072b2", selected: "#d55e00" };
const PIXELS = 16e6; // of the overview

export class MapView {
  readonly canvas = document.createElement("canvas");
  layout!: Layout;
  lasso = false;
  private transform: ZoomTransform = zoomIdentity;
  private readonly behaviour = zoom<HTMLCanvasElement, unknown>();
  private whole: HTMLCanvasElement | null = null; // all pictures, small
  private due = false; // whether a frame is to be drawn
  private line: Path2D | null = null; // of the lasso
  private marks = { asked: "", query: -1, hits: [] as number[], selected: [] as number[] }; // query: -1 for a new picture

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
        this.draw();
      });
    target.call(this.behaviour);
    this.canvas.addEventListener("click", (event) => {
      const id = this.at(event);
      if (!this.lasso && id !== null) this.listener.query(id);
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
    this.marks.asked = "";
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
    const [row = -1] = rows([query]), { asked } = this.marks;
    this.marks = { asked: query, query: row, hits: rows(hits), selected: rows(selected) };
    if (query !== asked && (row >= 0 || this.marks.hits.length)) this.centre();
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

  /** Bring the query into view, if it is not. */
  private centre() {
    const [x, y] = this.asked(), { clientWidth: width, clientHeight: height } = this.canvas;
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

  /** The middle of the query; of a new one, the medians of its neighbours' places. */
  private asked(): [number, number] {
    const { query, hits } = this.marks, places = (query < 0 ? hits : [query]).map((row) => this.position(row));
    return [0, 1].map((axis) => places.map((place) => place[axis]).sort((a, b) => a - b)[places.length >> 1]) as [number, number];
  }

  /** The side of a cell and the corner of the map, before zooming. */
  private scale(): [number, number, number] {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const step = Math.max(Math.min(width / this.layout.columns, height / this.layout.rows), 0.1);
    return [step, (width - step * this.layout.columns) / 2, (height - step * this.layout.rows) / 2];
  }

  /** The picture under a pointer. */
  private at({ offsetX, offsetY }: MouseEvent): string | null {
    const [step, left, top] = this.scale(), [x, y] = this.transform.invert([offsetX, offsetY]), { cells } = this.layout;
    const column = Math.floor((x - left) / step), line = Math.floor((y - top) / step);
    return this.sheets.ids.find((_, row) => cells[2 * row] === column && cells[2 * row + 1] === line) ?? null;
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
    const whole = this.overview();
    if (side * density <= whole.width / layout.columns) {
      context.drawImage(whole, left * k + x, top * k + y, step * layout.columns * k, step * layout.rows * k);
    } else {
      const gap = side > 12 ? Math.min(side * 0.04, 3) : 0;
      this.sheets.ids.forEach((_, row) => {
        const [u, v] = this.position(row).map((middle) => middle - side / 2);
        if (u > -side && v > -side && u < width && v < height) this.sheets.draw(context, row, u + gap, v + gap, side - 2 * gap);
      });
    }
    for (const row of this.marks.selected) this.frame(context, this.position(row), COLOURS.selected, 2);
    for (const row of this.marks.hits) this.frame(context, this.position(row), COLOURS.hit, 2);
    if (this.marks.query >= 0 || this.marks.hits.length) this.frame(context, this.asked(), COLOURS.query, 4);
    if (!this.line) return;
    context.fillStyle = "#d55e0022";
    context.strokeStyle = COLOURS.selected;
    context.lineWidth = 2;
    context.fill(this.line);
    context.stroke(this.line);
  }

  private frame(context: CanvasRenderingContext2D, middle: [number, number], colour: string, thick: number) {
    const side = this.scale()[0] * this.transform.k, shown = Math.max(side, 8);
    const [x, y] = middle.map((value) => value - shown / 2);
    if (side < 16 && thick < 4) {
      context.fillStyle = `${colour}99`;
      context.fillRect(x, y, shown, shown);
      return;
    }
    for (const [stroke, wide] of [["#ffffff", thick + 2], [colour, thick]] as const) {
      context.strokeStyle = stroke;
      context.lineWidth = wide;
      context.strokeRect(x, y, shown, shown);
    }
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
    for (let row = from; row < to; row++) this.sheets.draw(context, row, cells[2 * row] * side, cells[2 * row + 1] * side, side - 1);
  }

  private start(event: PointerEvent) {
    if (!this.lasso || event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.line = new Path2D();
    this.line.moveTo(event.offsetX, event.offsetY);
  }

  private move(event: PointerEvent) {
    if (!this.line) return this.hover(this.at(event));
    this.line.lineTo(event.offsetX, event.offsetY);
    this.draw();
  }

  private end(event: PointerEvent) {
    const line = this.line, context = this.canvas.getContext("2d")!;
    if (!line) return;
    this.stop();
    context.resetTransform();
    const inside = (_: string, row: number) => context.isPointInPath(line, ...this.position(row), "evenodd");
    this.listener.select(this.sheets.ids.filter(inside), event.shiftKey);
  }

  private stop() {
    this.line = null;
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

/** A map with its buttons, and the choice between several; Escape puts the lasso away. */
export class MapPanel {
  readonly view: MapView;
  readonly parts: HTMLElement[];
  private readonly hovered = element("span", { class: "am-hovered", hidden: true });
  private readonly choice: HTMLSelectElement;

  constructor(
    sheets: Sheets, private readonly layouts: Layout[], root: HTMLElement, listener: Listener, change: (name: string) => void = () => {},
  ) {
    const view = (this.view = new MapView(sheets, listener, (id) => this.hover(id)));
    this.choice = element("select", { "aria-label": "Map", hidden: layouts.length < 2, onchange: () => change(this.choice.value) },
      ...layouts.map(({ name }) => element("option", { value: name }, `map: ${name}`)));
    const lasso = (on: boolean) => {
      view.lasso = on;
      tool.setAttribute("aria-pressed", String(on));
      root.classList.toggle("am-lasso", on);
    };
    const tool = button("Lasso", () => lasso(!view.lasso), {
      "aria-pressed": "false", title: "Draw around pictures to select them; with Shift, to add them",
    });
    root.onkeydown = (event) => { // one handler, also if the map is made again
      if (event.key === "Escape") lasso(false);
    };
    this.parts = [
      element("div", { class: "am-bar" }, this.choice,
        button("+", () => view.zoomBy(1.5), { title: "Zoom in", "aria-label": "Zoom in" }),
        button("−", () => view.zoomBy(1 / 1.5), { title: "Zoom out", "aria-label": "Zoom out" }),
        button("all", () => view.reset(), { title: "Show the whole map" }), tool),
      element("div", { class: "am-canvas" }, view.canvas, this.hovered),
    ];
  }

  /** Show the map of this name, or the first one. */
  show(name: string) {
    const layout = this.layouts.find((one) => one.name === name) ?? this.layouts[0];
    if (this.view.layout !== layout) this.view.show(layout);
    this.choice.value = layout.name;
  }

  hover(id: string | null) {
    this.hovered.textContent = id === null ? "" : nameOf(id);
    this.hovered.hidden = id === null;
  }
}
