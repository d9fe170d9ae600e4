// What is on the screen, kept in the fragment of the address, so that a link opens the same view.

const LONGEST = 300; // a larger selection would make the address too long

export interface View {
  query: number;
  columns: number[];
  map: number;
  second: number; // -1: one map only
  selected: number[];
}

export class State {
  view: View;
  private readonly told: ((view: View) => void)[] = [];

  constructor(start: View, private readonly names: string[], private readonly systems: number, private readonly maps: number, private readonly own: boolean) {
    this.view = { ...start, ...this.read() };
    if (!own) return; // the address belongs to a notebook
    window.addEventListener("popstate", () => {
      const view = { ...start, ...this.read() };
      if (JSON.stringify(view) === JSON.stringify(this.view)) return;
      this.view = view;
      this.tell();
    });
  }

  onChange(call: (view: View) => void) {
    this.told.push(call);
  }

  /** Change the view. A new query is a step that the browser's Back button undoes. */
  set(change: Partial<View>) {
    const step = change.query !== undefined && change.query !== this.view.query;
    this.view = { ...this.view, ...change };
    if (this.own) history[step ? "pushState" : "replaceState"](null, "", `#${this.write()}`);
    this.tell();
  }

  private tell() {
    for (const call of this.told) call(this.view);
  }

  private write() {
    const { query, columns, map, second, selected } = this.view;
    const parts = new URLSearchParams({ q: this.names[query], c: columns.join("."), m: String(map) });
    if (second >= 0) parts.set("n", String(second));
    if (selected.length && selected.length <= LONGEST) parts.set("s", selected.map((row) => row.toString(36)).join("."));
    return parts.toString();
  }

  /** What the address says, without what this page does not have. */
  private read(): Partial<View> {
    const view: Partial<View> = {}, parts = new URLSearchParams(this.own ? location.hash.slice(1) : "");
    const numbers = (name: string, base: number, below: number) =>
      (parts.get(name) ?? "").split(".").map((one) => parseInt(one, base)).filter((one) => one >= 0 && one < below);
    const query = this.names.indexOf(parts.get("q") ?? "");
    if (query >= 0) view.query = query;
    if (parts.has("c")) view.columns = numbers("c", 10, this.systems);
    if (numbers("m", 10, this.maps).length) view.map = numbers("m", 10, this.maps)[0];
    if (numbers("n", 10, this.maps).length) view.second = numbers("n", 10, this.maps)[0];
    if (parts.has("s")) view.selected = numbers("s", 36, this.names.length);
    return view;
  }
}
