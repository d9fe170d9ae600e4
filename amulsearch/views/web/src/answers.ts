// The page that answers: a click makes any picture the query, and its neighbours stand in columns of systems, beside maps.

import { Data, type System } from "./data";
import { breaking, element, saveTable } from "./dom";
import { MapView, mapButtons } from "./map";
import { State, type View } from "./state";

const LIKELY = 10; // per cent; below it, nothing is likely to fit
const SHOWN = 60; // pictures of a search, a selection or a list of changes that are shown at once

const shown = (value: number) => (Math.abs(value) < 100 ? +value.toPrecision(3) : Math.round(value)).toString();

function start(root: HTMLElement) {
  const data = new Data(root.querySelector("script[type='application/json']")!.textContent!);
  const own = root.closest("body > main > .am-page") !== null; // not within a notebook
  const state = new State(
    { query: data.first, columns: data.systems.map((_, at) => at).slice(0, 5), map: 0, second: -1, selected: [] },
    data.names, data.systems.length, data.maps.length, own,
  );

  // The query, which stays in sight
  const queryPicture = element("div", { class: "am-big" }), queryName = element("div", { class: "am-title" });
  const search = element("input", {
    type: "search", placeholder: "name, label or keyword", "aria-label": "Find pictures by name, label or keyword",
    oninput: () => showSearch(),
  });
  const said = element("div", { class: "am-status", role: "status", "aria-live": "polite" });
  const link = element("button", { type: "button", onclick: () => copyLink() }, "Copy link");
  const random = element("button", { type: "button", onclick: () => ask(Math.floor(Math.random() * data.count)) }, "Any picture");
  const systems = element("div", { class: "am-systems", role: "group", "aria-label": "Columns" });
  const strip = element("div", { class: "am-strip" },
    queryPicture,
    element("div", { class: "am-about" }, queryName, element("div", { class: "am-bar" }, search, random, link), systems, said));
  const found = element("div", { class: "am-list", hidden: true });
  const columns = element("div", { class: "am-answer-columns" });

  // The maps and the selection
  const hovered = element("span", { class: "am-hovered", hidden: true });
  const maps = [0, 1].map(() => new MapView(data, ask, hover, select));
  const frames = maps.map((map) => element("div", { class: "am-canvas" }, map.canvas));
  const choose = (label: string, none: boolean, pick: (at: number) => void) =>
    element("select", { "aria-label": label, onchange: (event: Event) => pick(+(event.target as HTMLSelectElement).value) },
      ...(none ? [element("option", { value: -1 }, "no second map")] : []),
      ...data.maps.map((map, at) => element("option", { value: at }, `map: ${map.name}`)));
  const first = choose("Map", false, (at) => state.set({ map: at }));
  const second = choose("Second map, beside the first", true, (at) => state.set({ second: at }));
  const tools = element("div", { class: "am-bar" }, first, data.maps.length > 1 ? second : null, ...mapButtons(maps, root));
  const selection = element("div", { class: "am-list", hidden: true });
  const changes = changesPart();
  const lacking = element("p", { class: "am-below", hidden: true });
  root.append(
    element("div", { class: "am-answer" }, strip, lacking, found, columns),
    element("div", { class: "am-side" },
      ...(data.maps.length ? [tools, element("div", { class: "am-maps" }, ...frames, hovered)] : []), selection, changes.whole));
  root.classList.add("am-alive");

  function ask(row: number) {
    state.set({ query: row });
  }

  function hover(row: number | null) {
    hovered.textContent = row === null ? "" : data.short(row);
    hovered.hidden = row === null;
  }

  function select(rows: number[], add: boolean) {
    state.set({ selected: add ? [...new Set([...state.view.selected, ...rows])] : rows });
  }

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      said.textContent = "The link is copied.";
    } catch {
      said.textContent = "The address of this page is the link.";
    }
  }

  function tile(row: number, under: string, spoken: string, same = false) {
    return element("button", {
      type: "button", class: `am-hit${same ? " am-same" : ""}`, "data-row": row, title: data.names[row],
      onclick: () => ask(row),
      onpointerenter: () => maps.forEach((map) => map.layout && map.canvas.isConnected && hover(row)),
    }, data.picture(row), element("span", {}, under), element("span", {}, data.short(row)),
      spoken ? element("span", { class: "am-spoken" }, spoken) : null);
  }

  function column(system: System, query: number) {
    const label = data.label(query), parts: Node[] = [];
    let marked = false;
    data.neighbours(system, query).forEach(({ row, value, likely }, rank) => {
      if (!marked && likely !== null && likely < LIKELY) {
        marked = true;
        parts.push(element("p", { class: "am-below" }, "From here on, nothing is likely to fit"));
      }
      const same = label !== null && data.label(row) === label;
      parts.push(tile(row, `${rank + 1} · ${shown(value)}${likely === null ? "" : ` · ${likely}%`}`, same ? "same label as the query" : "", same));
    });
    return element("section", { "aria-label": system.name },
      element("div", { class: "am-head", title: `below each picture: rank, ${system.measure}${system.likely.length ? ", probability of being relevant" : ""}` }, element("span", {}, ...breaking(system.name))),
      element("div", { class: "am-hits" }, ...parts));
  }

  function list(place: HTMLElement, title: string, rows: number[], ...acts: Node[]) {
    place.hidden = !rows.length && !acts.length;
    place.replaceChildren(
      element("div", { class: "am-bar" }, element("strong", {}, title), ...acts),
      element("div", { class: "am-hits" }, ...rows.slice(0, SHOWN).map((row) => tile(row, data.label(row) ?? "", ""))),
      rows.length > SHOWN ? `and ${(rows.length - SHOWN).toLocaleString("en")} more` : "");
  }

  function showSearch() {
    const rows = data.find(search.value);
    const close = element("button", { type: "button", onclick: () => { search.value = ""; showSearch(); search.focus(); } }, "Close");
    if (!search.value.trim()) list(found, "", []);
    else list(found, `${rows.length.toLocaleString("en")} pictures with “${search.value.trim()}”`, rows, close);
  }

  const save = (rows: number[]) => saveTable(rows.map((row) => ({ id: data.names[row], label: data.label(row) })));

  /** Two systems, and the pictures whose neighbours differ most between them. */
  function changesPart() {
    const pick = (at: number) => {
      const made = element("select", { "aria-label": `${at ? "second" : "first"} system`, onchange: () => update() },
        ...data.systems.map((system, place) => element("option", { value: place }, system.name)));
      made.value = String(Math.min(at, data.systems.length - 1));
      return made;
    };
    const [a, b] = [pick(0), pick(1)], inside = element("div");
    const update = () => {
      if (!whole.open) return;
      const [one, other] = [data.systems[+a.value], data.systems[+b.value]];
      const rows = data.changed(one, other, 24);
      inside.replaceChildren(element("div", { class: "am-hits" },
        ...rows.map(({ row, shared }) => tile(row, `${shared} of ${one.k} shared`, ""))));
    };
    const whole = element("details", { class: "am-changes", ontoggle: update },
      element("summary", {}, "Where do two systems differ most?"), element("div", { class: "am-bar" }, a, b), inside);
    whole.hidden = data.systems.length < 2;
    return { whole };
  }

  function show(view: View) {
    const label = data.label(view.query);
    queryPicture.replaceChildren(data.picture(view.query));
    queryName.replaceChildren(element("strong", {}, ...breaking(data.short(view.query))), element("span", {}, label ?? ""));
    queryName.title = data.names[view.query];
    systems.replaceChildren(...data.systems.map((system, at) => {
      const on = view.columns.includes(at);
      return element("button", {
        type: "button", "aria-pressed": String(on),
        onclick: () => state.set({ columns: on ? view.columns.filter((one) => one !== at) : [...view.columns, at].sort((x, y) => x - y) }),
      }, system.name);
    }));
    const chosen = view.columns.map((at) => data.systems[at]).filter(Boolean);
    columns.style.setProperty("--columns", String(Math.max(chosen.length, 1)));
    columns.classList.toggle("am-single", chosen.length === 1);
    columns.replaceChildren(...(chosen.length ? chosen.map((system) => column(system, view.query)) : ["Choose at least one column."]));
    said.textContent = label === null ? "" : "A blue frame marks the label of the query.";
    const near = new Set(chosen.flatMap((system) => data.neighbours(system, view.query).map((one) => one.row)));
    const layouts = [data.maps[view.map], view.second >= 0 ? data.maps[view.second] : undefined];
    frames[1].hidden = !layouts[1];
    maps.forEach((map, at) => {
      const layout = layouts[at];
      if (!layout) return;
      if (map.layout !== layout) map.show(layout);
      map.mark(view.query, near, view.selected);
    });
    first.value = String(view.map);
    second.value = String(view.second);
    const acts = view.selected.length
      ? [element("button", { type: "button", onclick: () => save(view.selected) }, "Save as CSV"),
         element("button", { type: "button", onclick: () => state.set({ selected: [] }) }, "Clear")]
      : [];
    list(selection, `${view.selected.length.toLocaleString("en")} selected`, view.selected, ...acts);
  }

  (own ? document : root).addEventListener("keydown", (event) => {
    if ((event as KeyboardEvent).key === "/" && !/INPUT|SELECT|TEXTAREA/.test((event.target as HTMLElement).tagName)) {
      event.preventDefault();
      search.focus();
    }
    if (!own) event.stopPropagation(); // a notebook has shortcuts, such as d d: delete the cell
  });
  state.onChange(show);
  show(state.view);
  data.load(state.view.query, (sheet) => maps.forEach((map) => map.layout && map.refresh(sheet)), (src) => {
    lacking.hidden = false;
    lacking.textContent = `Some thumbnails cannot be loaded: the folder ${decodeURIComponent(src.split("/")[0])} belongs beside this page.`;
  });
  (root as any).amulsearch = { data, maps, state };
}

for (const root of document.querySelectorAll<HTMLElement>(".am-answers:not(.am-alive)")) start(root);
