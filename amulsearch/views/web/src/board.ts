// What the page and the explorer share: the query, columns of its neighbours, lists of pictures, the selection, the maps.

import { breaking, button, counted, download, element, nameOf } from "./dom";
import type { Listener, MapPanel } from "./map";

const SHOWN = 60; // pictures of a list that are shown at once

export interface Hit {
  id: string;
  rank?: number;
  value?: number; // distance or score
  votes?: number;
  likely?: number | null; // probability in per cent
  same?: boolean; // whether it has the label of the query
  judged?: number | null;
  note?: string; // in place of rank and value
}

export interface Column {
  name: string;
  measure: string; // "distance" or "score"
  hits: Hit[];
  unlikely: number | null; // the rank from which nothing is likely to fit
}

/** A picture of the selection. */
export interface Chosen {
  id: string;
  label: string | null;
}

/** What the page and the explorer each do in their own way. */
export interface Host extends Listener {
  picture(id: string): Element;
  toggle(id: string): void;
  acts?(hit: Hit, column?: Column): Node[];
  about?: Record<string, string>; // column -> what it is
}

export class Board {
  map: MapPanel | null = null;
  readonly title = element("div", { class: "am-title" });
  readonly systems = element("div", { class: "am-systems", role: "group", "aria-label": "Columns" });
  readonly columns = element("div", { class: "am-answer-columns" });
  readonly selection = element("div", { class: "am-list am-selection", hidden: true });
  readonly said = element("div", { class: "am-said", role: "status", "aria-live": "polite" });
  private query = "";
  private hits: string[] = [];
  private selected = new Set<string>();

  constructor(readonly root: HTMLElement, private readonly host: Host) {}

  showQuery(id: string, label: string | null) {
    this.query = id;
    this.title.replaceChildren(element("strong", {}, ...breaking(nameOf(id))), element("span", {}, label ?? ""));
    this.title.title = id;
  }

  /** A button for each column that can be shown. */
  showSystems(names: string[], shown: string[], change: (names: string[]) => void) {
    this.systems.replaceChildren(...names.map((name) => {
      const on = shown.includes(name), others = (other: string) => (other === name ? !on : shown.includes(other));
      return button(name, () => change(names.filter(others)), { "aria-pressed": String(on), title: this.host.about?.[name] ?? "" });
    }));
  }

  showColumns(columns: Column[]) {
    this.hits = columns.flatMap((column) => column.hits.map((hit) => hit.id));
    this.columns.style.setProperty("--columns", String(Math.max(columns.length, 1)));
    this.columns.classList.toggle("am-single", columns.length === 1);
    const focused = document.activeElement?.closest<HTMLElement>(".am-hit")?.dataset.id;
    this.columns.replaceChildren(...(columns.length ? columns.map((column) => this.column(column)) : ["Choose at least one column."]));
    if (focused) this.columns.querySelector<HTMLElement>(`[data-id="${CSS.escape(focused)}"] .am-picture`)?.focus();
    this.mark();
  }

  private column(column: Column) {
    const { name, hits, unlikely, measure } = column;
    const warning = element("p", { class: "am-below" }, "From here on, nothing is likely to fit");
    const lines = [
      measure === "distance" ? "distance: the smaller, the more similar" : `score: ${this.host.about?.[name] ?? "the higher, the more similar"}`,
      ...(hits.some((hit) => hit.votes) ? ["votes: in how many lists the picture is"] : []),
      ...(hits.some((hit) => hit.likely != null) ? ["per cent: how probable it is that the picture is relevant"] : []),
    ];
    return element("section", { "aria-label": name },
      element("div", { class: "am-head", title: `below each picture: rank\n${lines.join("\n")}` }, element("span", {}, ...breaking(name))),
      element("div", { class: "am-hits" },
        ...hits.flatMap((hit) => (hit.rank === unlikely ? [warning, this.tile(hit, column)] : [this.tile(hit, column)]))));
  }

  tile(hit: Hit, column?: Column) {
    const { id, rank, value = 0, votes, likely, same, note } = hit, name = nameOf(id);
    const number = (Math.abs(value) < 100 ? +value.toPrecision(3) : Math.round(value)).toString();
    const parts = [rank, number, votes ? counted(votes, "vote") : null, likely == null ? null : `${likely}%`];
    const text = column ? parts.filter((part) => part !== null).join(" · ") : note;
    const where = column ? `, rank ${rank} of ${column.name}, ${column.measure} ${number}${same ? ", same label as the query" : ""}` : "";
    return element("figure", { class: `am-hit${same ? " am-same" : ""}`, "data-id": id, title: id },
      button(this.host.picture(id), () => {}, {
        class: "am-picture", "aria-label": name + where,
        onclick: (event: MouseEvent) => (event.ctrlKey || event.metaKey || event.shiftKey ? this.host.toggle(id) : this.host.query(id)),
        onpointerenter: () => this.map?.hover(id),
      }),
      element("figcaption", {}, text ? element("span", { class: "am-value" }, text) : null, element("span", { class: "am-name" }, name)),
      ...(this.host.acts?.(hit, column) ?? []));
  }

  /** Fill a list of pictures, of which the first are shown. */
  list(place: HTMLElement, title: string, hits: Hit[], acts: (Node | null)[] = [], ...forms: Node[]) {
    const focused = place.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
    place.hidden = !hits.length && !acts.length;
    place.replaceChildren(
      element("div", { class: "am-bar" }, element("strong", {}, title), ...acts), ...forms,
      element("div", { class: "am-hits" }, ...hits.slice(0, SHOWN).map((hit) => this.tile(hit))),
      hits.length > SHOWN ? `and ${(hits.length - SHOWN).toLocaleString("en")} more` : "");
    if (focused?.isConnected) focused.focus();
  }

  showSelected(rows: Chosen[], acts: (Node | null)[] = [], ...forms: Node[]) {
    this.selected = new Set(rows.map((row) => row.id));
    const save = button("Save as CSV", () => saveTable(rows)), clear = button("Clear", () => this.host.select([], false));
    this.list(this.selection, `${rows.length.toLocaleString("en")} selected`, rows.map(({ id, label }) => ({ id, note: label ?? "" })),
      rows.length ? [save, ...acts, clear] : [], ...forms);
    this.mark();
  }

  /** Frame on the pictures and on the map what is selected, what answers and what is asked. */
  mark() {
    for (const tile of this.root.querySelectorAll<HTMLElement>(".am-hit"))
      tile.classList.toggle("am-selected", this.selected.has(tile.dataset.id!));
    if (this.map?.view.layout) this.map.view.mark(this.query, this.hits, this.selected);
  }

  /** The keys on a picture: the arrows move to the next one; others press a button below it, or do the same. */
  key(event: KeyboardEvent, acts: Record<string, (tile: HTMLElement) => void> = {}) {
    const picture = (event.target as HTMLElement).closest<HTMLElement>(".am-picture");
    if (!picture || !this.root.contains(picture) || event.ctrlKey || event.altKey || event.metaKey) return;
    const tile = picture.parentElement!;
    const keys: Record<string, (tile: HTMLElement) => void> = { s: () => this.host.toggle(tile.dataset.id!), ...acts };
    if (keys[event.key]) {
      event.preventDefault();
      return keys[event.key](tile);
    }
    const sign = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!sign) return;
    event.preventDefault();
    const { x, y, width, height } = picture.getBoundingClientRect();
    let best: HTMLElement | null = null, least = Infinity;
    for (const other of this.root.querySelectorAll<HTMLElement>(".am-picture")) {
      const box = other.getBoundingClientRect(), across = box.x - x, down = box.y - y;
      const along = across * sign[0] + down * sign[1], aside = Math.abs(across * sign[1]) + Math.abs(down * sign[0]);
      const far = along + 3 * aside;
      if (along > Math.min(width, height) / 2 && far < least) [best, least] = [other, far];
    }
    best?.focus();
  }
}

/** Download a table of pictures. */
function saveTable(rows: Chosen[]) {
  const quoted = (text: string) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = rows.map(({ id, label }) => `${quoted(id)},${quoted(label ?? "")}\n`);
  download("selection.csv", new Blob(["id,label\n", ...lines], { type: "text/csv" }));
}
