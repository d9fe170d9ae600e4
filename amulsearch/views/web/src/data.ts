// What Python writes into the page (answers.py), and what is read from it.

import { folded } from "./dom";
import type { Layout } from "./map";
import type { Network } from "./network";
import { Sheets } from "./sheets";
import type { WrittenComparison } from "./sight";

interface Written {
  query: string;
  ids: string[];
  labels: (string | null)[];
  words: string[]; // keywords of each picture; empty if the collection has none
  side: number;
  across: number;
  sheets: string[];
  systems: { name: string; k: number; measure: string; rows: string; values: string; likely: string; compared: WrittenComparison | null }[];
  network: Network<string> | null; // of a page that sees
  maps: (Omit<Layout, "cells"> & { cells: string })[];
}

export interface System {
  name: string;
  k: number;
  measure: string;
  rows: Int32Array; // picture i: i * k to i * k + k - 1; -1 where the list is short
  values: Float32Array;
  likely: Uint8Array; // probabilities in per cent; empty if there are none
  compared: WrittenComparison | null; // of a system that can see
}

export const bytes = (text: string) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0)).buffer;

export class Data {
  readonly written: Written;
  readonly sheets: Sheets;
  readonly systems: System[];
  readonly maps: Layout[];
  private readonly searched: string[];

  constructor(text: string) {
    const written: Written = (this.written = JSON.parse(text));
    this.sheets = new Sheets(written.ids, written.side, written.across);
    this.systems = written.systems.map((system) => ({
      ...system,
      rows: new Int32Array(bytes(system.rows)),
      values: new Float32Array(bytes(system.values)),
      likely: new Uint8Array(bytes(system.likely)),
    }));
    this.maps = written.maps.map((map) => ({ ...map, cells: new Uint32Array(bytes(map.cells)) }));
    this.searched = written.ids.map((id, row) => folded(`${id} ${written.labels[row] ?? ""} ${written.words[row] ?? ""}`));
  }

  /** Load all sheets, that of one picture first; `loaded` is called after each. */
  async load(id: string, loaded: (sheet: number) => void) {
    const first = this.sheets.sheet(this.sheets.rows.get(id)!), sheets = [...this.written.sheets.keys()];
    for (const sheet of [first, ...sheets.filter((other) => other !== first)]) {
      this.sheets.images[sheet].src = this.written.sheets[sheet];
      await this.sheets.images[sheet].decode();
      loaded(sheet);
    }
  }

  label(id: string): string | null {
    return this.written.labels[this.sheets.rows.get(id) ?? -1] ?? null;
  }

  find(text: string): string[] {
    const words = folded(text).split(" ").filter(Boolean);
    return words.length ? this.written.ids.filter((_, row) => words.every((word) => this.searched[row].includes(word))) : [];
  }

  neighbours(system: System, id: string): { id: string; value: number; likely: number | null }[] {
    const start = this.sheets.rows.get(id)! * system.k;
    const places = Array.from({ length: system.k }, (_, rank) => start + rank).filter((place) => system.rows[place] >= 0);
    return places.map((place) => ({
      id: this.written.ids[system.rows[place]], value: system.values[place], likely: system.likely[place] ?? null,
    }));
  }

  /** The pictures on whose neighbours two systems agree least, with how many they share. */
  changed(a: System, b: System, most: number): { id: string; shared: number }[] {
    const shared = this.written.ids.map((id) => {
      const ids = new Set(this.neighbours(a, id).map((hit) => hit.id));
      return { id, shared: this.neighbours(b, id).filter((hit) => ids.has(hit.id)).length };
    });
    return shared.sort((one, other) => one.shared - other.shared).slice(0, most); // the sort is stable
  }
}
