// What is on the screen, kept in the fragment of the address, so that a link opens the same view.

const LONGEST = 300; // a larger selection would make the address too long

export interface View {
  query: string;
  columns: string[];
  map: string;
  selected: string[];
}

export class State {
  view: View;

  constructor(
    start: View, private readonly ids: string[], private readonly owner: boolean, private readonly show: (view: View) => void,
    private readonly own: ReadonlyMap<string, unknown>, // queries that are not in the page
  ) {
    this.view = this.read(start);
    if (!owner) return; // the address belongs to a notebook, or to another part of the page
    window.addEventListener("popstate", () => {
      this.view = this.read(start);
      show(this.view);
    });
  }

  /** Change the view. A new query is a step that the browser's Back button undoes. */
  set(change: Partial<View>) {
    const step = change.query !== undefined && change.query !== this.view.query;
    this.view = { ...this.view, ...change };
    if (this.owner) history[step ? "pushState" : "replaceState"](null, "", `#${this.write()}`);
    this.show(this.view);
  }

  private write() {
    const { query, columns, map, selected } = this.view;
    const parts = new URLSearchParams([["q", query], ...columns.map((name) => ["c", name]), ["m", map]]);
    const rows = selected.map((id) => this.ids.indexOf(id).toString(36));
    if (!columns.length) parts.set("c", "");
    if (rows.length && rows.length <= LONGEST) parts.set("s", rows.join("."));
    return parts.toString();
  }

  /** What the address says, without what this page does not have. */
  private read(start: View): View {
    const parts = new URLSearchParams(this.owner ? location.hash.slice(1) : "");
    const [query] = parts.getAll("q").filter((id) => this.ids.includes(id) || this.own.has(id));
    const rows = (parts.get("s") ?? "").split(".").map((row) => this.ids[parseInt(row, 36)]);
    return {
      query: query ?? start.query,
      columns: parts.has("c") ? parts.getAll("c") : start.columns,
      map: parts.get("m") ?? start.map,
      selected: rows.filter(Boolean),
    };
  }
}
