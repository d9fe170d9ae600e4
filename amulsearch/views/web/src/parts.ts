// The parts of the widgets: messages, pictures fetched on demand, the selection of a part, and thumbs.

import { button, element } from "./dom";

const RESTARTED = "The kernel was restarted and no longer knows this widget: run the cell again.";
const SILENT = "No answer yet: the kernel is busy, or was restarted. If it was, run the cell again.";
const PATIENCE = 60_000; // milliseconds
const KEPT = 600; // pictures of each size; others are fetched again

type Take = (message: any, buffers: DataView[]) => void;

export interface Message {
  do: string;
  [name: string]: unknown;
}

export interface Model {
  get(name: "face"): string;
  send(message: object, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(event: "msg:custom" | "comm_live_update", call: Take): void;
  off(event: "msg:custom" | "comm_live_update", call: Take): void;
}

/** The messages between a view and the kernel; `wrong` is told when no answer can be expected. */
export class Line {
  private readonly view = String(Math.random()); // several views can show one widget; this one takes what is sent to it
  private late = 0;
  private alone = false; // the kernel that knew this widget has gone

  constructor(
    private readonly model: Model, private readonly takers: Record<string, Take>, private readonly wrong: (text: string) => void,
  ) {
    model.on("msg:custom", this.take);
    model.on("comm_live_update", this.left); // it is live when it is made
  }

  send(message: Message, buffers?: ArrayBuffer[]) {
    if (this.alone) this.wrong(RESTARTED);
    else this.model.send({ ...message, view: this.view }, undefined, buffers);
  }

  /** Send what is to be answered. */
  ask(message: Message, buffers?: ArrayBuffer[]) {
    clearTimeout(this.late);
    if (!this.alone) this.late = window.setTimeout(() => this.wrong(SILENT), PATIENCE);
    this.send(message, buffers);
  }

  close() {
    clearTimeout(this.late);
    this.model.off("msg:custom", this.take);
    this.model.off("comm_live_update", this.left);
  }

  private readonly take: Take = (message, buffers) => {
    if (message.to !== undefined && message.to !== this.view) return;
    clearTimeout(this.late);
    this.takers[message.say]?.(message, buffers);
  };

  private readonly left = () => {
    this.alone = true;
    clearTimeout(this.late);
    this.wrong(RESTARTED);
  };
}

/** A thumb drawn as SVG: not every machine has a font with one. */
export function thumb(way: "up" | "down") {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `am-thumb am-${way}`);
  path.setAttribute("d", "M2 10h4v11H2z M8 21V10l5-8 2 1-1 6h8l-2 12z");
  svg.append(path);
  return svg;
}

/** Pictures by id, fetched when they are needed; `into` shows one in an <img> as soon as it has arrived. */
export class Pictures {
  private readonly urls = new Map<string, string>(); // those used last at the end
  private readonly waiting = new Map<string, HTMLImageElement[]>();
  private timer = 0;

  constructor(private readonly model: Model, readonly side: number) {}

  into(image: HTMLImageElement, id: string) {
    image.dataset.wanted = id;
    if (this.urls.has(id)) this.show(image, id);
    else {
      this.waiting.set(id, [...(this.waiting.get(id) ?? []), image]);
      this.timer ||= window.setTimeout(() => this.request()); // all pictures of a screen in one message
    }
    return image;
  }

  private show(image: HTMLImageElement, id: string) {
    const url = this.urls.get(id)!;
    this.urls.delete(id);
    this.urls.set(id, url);
    if (image.dataset.wanted !== id) return; // meanwhile it is to show another
    image.src = url;
    image.dataset.shown = id;
  }

  /** Forget the pictures that were not used for longest. */
  free(kept = KEPT) {
    for (const [id, url] of this.urls) {
      if (this.urls.size <= kept) return;
      URL.revokeObjectURL(url);
      this.urls.delete(id);
    }
  }

  private request() {
    this.timer = 0;
    this.model.send({ do: "pictures", ids: [...this.waiting.keys()], side: this.side });
  }

  take(ids: string[], buffers: DataView[]) {
    ids.forEach((id, place) => {
      if (!this.waiting.has(id)) return;
      this.urls.set(id, URL.createObjectURL(new Blob([buffers[place] as BlobPart], { type: "image/jpeg" })));
      for (const image of this.waiting.get(id)!) this.show(image, id);
      this.waiting.delete(id);
    });
    this.free();
  }
}

/** Left, top, width and height, as fractions of those of the picture. */
export type Box = [number, number, number, number];

/** A picture with a rectangle on it, drawn with the pointer or moved with the arrow keys (Shift: resized). */
export class Part {
  readonly image = element("img", { draggable: "false" });
  readonly tool = button("Search with this part", () => this.use(), { disabled: true, title: "Draw a frame on the picture first" });
  readonly frame: HTMLElement;
  private box: Box | null = null;
  private readonly shade = element("div", { class: "am-part", hidden: true });

  constructor(private readonly pictures: Pick<Pictures, "into">, private readonly search: (id: string | undefined, box: Box) => void) {
    this.frame = element("div", {
      class: "am-big", tabindex: 0, role: "group",
      "aria-label": "Select a part of the query to search with: drag the pointer, or use the arrow keys (Shift changes the size)",
      onpointerdown: (event) => this.down(event), onkeydown: (event) => this.key(event),
    }, this.image, this.shade);
  }

  show(id: string, alt: string) {
    this.image.alt = alt;
    this.pictures.into(this.image, id);
    this.set(null);
  }

  private use() {
    if (this.box) this.search(this.image.dataset.shown, this.box);
  }

  private at(event: PointerEvent) {
    const { left, top, width, height } = this.image.getBoundingClientRect();
    const within = (value: number) => Math.min(1, Math.max(0, value));
    return [within((event.clientX - left) / width), within((event.clientY - top) / height)];
  }

  private down(event: PointerEvent) {
    if (event.button) return;
    event.preventDefault();
    this.frame.focus({ preventScroll: true });
    this.frame.setPointerCapture(event.pointerId);
    const [x, y] = this.at(event);
    this.set([x, y, 0, 0]);
    this.frame.onpointermove = (event) => {
      const [u, v] = this.at(event);
      this.set([Math.min(x, u), Math.min(y, v), Math.abs(u - x), Math.abs(v - y)]);
    };
    this.frame.onpointerup = () => {
      this.frame.onpointermove = this.frame.onpointerup = null;
      if (this.box && Math.min(this.box[2], this.box[3]) < 0.02) this.set(null); // a click, not a drag
    };
  }

  private key(event: KeyboardEvent) {
    const steps: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape" && this.box) this.set(null);
    else if (event.key === "Enter" && this.box) this.use();
    else if (steps[event.key]) {
      let [x, y, w, h] = this.box ?? [0.25, 0.25, 0.5, 0.5];
      const [right, down] = steps[event.key].map((step) => step * 0.05);
      if (event.shiftKey) [w, h] = [Math.max(0.05, w + right), Math.max(0.05, h + down)];
      else [x, y] = [x + right, y + down];
      [w, h] = [Math.min(w, 1), Math.min(h, 1)];
      this.set([Math.min(Math.max(x, 0), 1 - w), Math.min(Math.max(y, 0), 1 - h), w, h]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private set(box: Box | null) {
    this.box = box;
    this.shade.hidden = !box;
    const sides = ["left", "top", "width", "height"] as const;
    if (box) sides.forEach((name, at) => (this.shade.style[name] = `${100 * box[at]}%`));
    this.tool.disabled = !box;
  }
}
