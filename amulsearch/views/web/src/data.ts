// What Python writes into the page (answers.py), and what is read from it.

import { folded, short } from "./dom";
import type { Layout, Thumbnails } from "./map";

interface Written {
  query: number;
  names: string[];
  labels: number[]; // -1: none
  labelNames: string[];
  words: string[]; // keywords of each picture; empty if the collection has none
  side: number;
  sheets: { src: string; columns: number; rows: number }[];
  systems: {
    name: string; k: number; measure: string;
    rows: string; // uint32, or uint16 in a collection of fewer than 65,535 pictures
    values: string; least: number; most: number; // uint16 steps between the two
    likely: string;
  }[];
  maps: { name: string; columns: number; rows: number; cells: string }[];
}

export interface System {
  name: string;
  k: number;
  measure: string;
  rows: Uint32Array | Uint16Array; // picture i: i * k to i * k + k - 1; nobody where the list is short
  values: Float32Array;
  likely: Uint8Array; // probabilities in per cent; empty if there are none
}

function bytes(text: string): Uint8Array<ArrayBuffer> {
  const raw = atob(text), found = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) found[at] = raw.charCodeAt(at);
  return found;
}

const words = (text: string) => new Uint32Array(bytes(text).buffer);

export class Data implements Thumbnails {
  readonly names: string[];
  readonly systems: System[];
  readonly maps: Layout[];
  readonly side: number;
  readonly perSheet: number;
  readonly images: HTMLImageElement[];
  private readonly written: Written;
  private readonly searched: string[];

  constructor(text: string) {
    const written: Written = (this.written = JSON.parse(text));
    this.names = written.names;
    this.side = written.side;
    this.perSheet = written.sheets[0].columns * written.sheets[0].rows;
    this.systems = written.systems.map((one) => ({
      name: one.name, k: one.k, measure: one.measure, rows: this.rows(one.rows),
      values: Float32Array.from(new Uint16Array(bytes(one.values).buffer), (step) => one.least + (step * (one.most - one.least)) / 65535),
      likely: bytes(one.likely),
    }));
    this.maps = written.maps.map((one) => ({ name: one.name, columns: one.columns, rows: one.rows, cells: words(one.cells) }));
    this.searched = written.names.map((name, row) => folded(`${name} ${this.label(row) ?? ""} ${written.words[row] ?? ""}`));
    this.images = written.sheets.map(() => new Image());
  }

  /** The picture to open with. */
  get first() {
    return this.written.query;
  }

  get count() {
    return this.names.length;
  }

  /** Load all sheets, that of one picture first; `loaded` is called after each, or `failed` with its address. */
  load(row: number, loaded: (sheet: number) => void, failed: (src: string) => void) {
    const start = (sheet: number, then: () => void) => {
      const image = this.images[sheet];
      image.onload = () => {
        loaded(sheet);
        then();
      };
      image.onerror = () => {
        failed(this.written.sheets[sheet].src);
        then();
      };
      image.src = this.written.sheets[sheet].src;
    };
    const [first] = this.place(row), others = this.images.map((_, sheet) => sheet).filter((sheet) => sheet !== first);
    start(first, () => others.forEach((sheet) => start(sheet, () => {})));
  }

  private get nobody() {
    return this.names.length < 65535 ? 65535 : 4294967295;
  }

  private rows(text: string) {
    return this.names.length < 65535 ? new Uint16Array(bytes(text).buffer) : words(text);
  }

  label(row: number): string | null {
    return this.written.labelNames[this.written.labels[row]] ?? null;
  }

  short(row: number) {
    return short(this.names[row]);
  }

  /** Where the thumbnail of a picture lies: its sheet, and its corner in pixels. */
  place(row: number): [number, number, number] {
    const sheet = Math.floor(row / this.perSheet), inside = row % this.perSheet;
    const { columns } = this.written.sheets[sheet];
    return [sheet, (inside % columns) * this.side, Math.floor(inside / columns) * this.side];
  }

  /** A picture as an element, drawn when its sheet has arrived. */
  picture(row: number): HTMLCanvasElement {
    const canvas = document.createElement("canvas"), [sheet, x, y] = this.place(row), image = this.images[sheet];
    canvas.width = canvas.height = this.side;
    canvas.setAttribute("aria-hidden", "true");
    const draw = () => canvas.getContext("2d")!.drawImage(image, x, y, this.side, this.side, 0, 0, this.side, this.side);
    if (image.complete && image.naturalWidth) draw();
    else image.addEventListener("load", draw, { once: true });
    return canvas;
  }

  find(text: string): number[] {
    const asked = folded(text).split(" ").filter(Boolean);
    if (!asked.length) return [];
    const found: number[] = [];
    this.searched.forEach((one, row) => asked.every((word) => one.includes(word)) && found.push(row));
    return found;
  }

  neighbours(system: System, row: number): { row: number; value: number; likely: number | null }[] {
    const found = [];
    for (let at = row * system.k; at < (row + 1) * system.k && system.rows[at] !== this.nobody; at++)
      found.push({ row: system.rows[at], value: system.values[at], likely: system.likely.length ? system.likely[at] : null });
    return found;
  }

  /** The pictures on whose neighbours two systems agree least, with how many they share. */
  changed(a: System, b: System, most: number): { row: number; shared: number }[] {
    const shared = this.names.map((_, row) => {
      const own = new Set(this.neighbours(a, row).map((one) => one.row));
      return { row, shared: this.neighbours(b, row).filter((one) => own.has(one.row)).length };
    });
    return shared.sort((one, other) => one.shared - other.shared || one.row - other.row).slice(0, most);
  }
}
