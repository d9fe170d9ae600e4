// The page that answers: a click makes any picture the query, and its neighbours stand in columns of systems, beside a map.

import { Board, type Column } from "./board";
import { Data, type System } from "./data";
import { button, chooser, counted, element, nameOf, receive } from "./dom";
import { MapPanel } from "./map";
import { type Box, Part } from "./parts";
import { Comparison, type Own, Sight } from "./sight";
import { State, type View } from "./state";

const LIKELY = 10; // per cent; below it, nothing is likely to fit

export function start(root: HTMLElement) {
  const data = new Data(root.querySelector("script[type='application/json']")!.textContent!), { systems, maps } = data;
  const saved = root.closest("body > main > .am-page"); // not within a notebook
  const first = saved?.querySelector(".am-answers") === root;
  const query = (id: string) => state.set({ query: id });
  const select = (ids: string[], add: boolean) => state.set({ selected: add ? [...new Set([...state.view.selected, ...ids])] : ids });
  const toggle = (id: string) => {
    const { selected } = state.view;
    state.set({ selected: selected.includes(id) ? selected.filter((other) => other !== id) : [...selected, id] });
  };
  const board = new Board(root, { query, select, toggle, picture: (id) => data.sheets.canvas(id) });
  const { network } = data.written, own = new Map<string, Own>(); // a person's own pictures by id
  let sight: Sight | null = null; // from the first of them
  const seeing = new Map(systems.flatMap(({ name, compared }) => (compared ? [[name, new Comparison(compared)]] : [])));
  const part = new Part({ into: (image, id) => Object.assign(image, { src: own.get(id)!.url }) }, searchPart);
  const search = element("input", {
    type: "search", placeholder: "name, label or keyword", "aria-label": "Find pictures by name, label or keyword", oninput: find,
  });
  const files = chooser("Your own picture", see, { multiple: true });
  const camera = chooser("Camera", see, { capture: "environment", class: "am-camera" }); // on a phone
  const anyPicture = () => query(data.written.ids[Math.floor(Math.random() * data.written.ids.length)]);
  const link = button("Copy link", copyLink);
  const strip = element("div", { class: "am-strip" }, part.frame,
    element("div", { class: "am-about" }, board.title,
      element("div", { class: "am-bar" }, search, button("Any picture", anyPicture),
        ...(network ? [files, camera, part.tool] : []), first ? link : null),
      board.systems, board.said));
  const matches = element("div", { class: "am-list", hidden: true });
  if (maps.length) board.map = new MapPanel(data.sheets, maps, root, { query, select }, (map) => state.set({ map }));
  root.append(
    element("div", { class: "am-answer" }, strip, matches, board.columns),
    element("div", { class: "am-side" }, ...(board.map?.parts ?? []), board.selection, changes()));
  root.classList.add("am-alive");

  /** Ask with a person's own pictures, one after the other. */
  async function see(files: File[]) {
    for (const file of files) {
      board.said.textContent = `Looking at ${file.name} …`;
      sight ??= new Sight(network!);
      const mine = await sight.see(file).catch((error) => void (board.said.textContent = error.message)), { columns } = state.view;
      if (!mine) continue;
      const query = `${/^part /.test(file.name) ? "" : "new picture "}${file.name} ${own.size.toString(16).padStart(12, "0")}`;
      own.set(query, mine);
      state.set({ query, columns: columns.some((column) => seeing.has(column)) ? columns : [...columns, [...seeing.keys()][0]] });
    }
  }

  /** Ask with a part of one's own picture, at its full size. */
  async function searchPart(_: unknown, [x, y, w, h]: Box) {
    const { naturalWidth: width, naturalHeight: height } = part.image, { query } = state.view;
    const [left, top, right, bottom] = [x * width, y * height, (x + w) * width, (y + h) * height].map(Math.round);
    const canvas = new OffscreenCanvas(Math.max(right - left, 1), Math.max(bottom - top, 1));
    canvas.getContext("2d")!.drawImage(part.image, -left, -top);
    see([new File([await canvas.convertToBlob()], `part ${[left, top, right, bottom]} of ${query}`)]);
  }

  async function copyLink() {
    try {
      await navigator.clipboard.writeText(location.href);
      board.said.textContent = "The link is copied.";
    } catch {
      board.said.textContent = "The address of this page is the link.";
    }
  }

  function find() {
    const text = search.value.trim(), ids = data.find(text);
    const close = button("Close", () => {
      search.value = "";
      find();
      search.focus();
    });
    const title = `${counted(ids.length, "picture")} with “${text}”`;
    board.list(matches, title, ids.map((id) => ({ id, note: data.label(id) ?? "" })), text ? [close] : []);
  }

  /** Two systems, and the pictures whose neighbours differ most between them. */
  function changes() {
    const choice = (label: string, place: number) => {
      const options = systems.map(({ name }, at) => element("option", { value: at, selected: at === place }, name));
      return element("select", { "aria-label": `${label} system`, onchange: update }, ...options);
    };
    const [a, b] = [choice("first", 0), choice("second", 1)], inside = element("div", { class: "am-hits" });
    function update() {
      const [one, other] = [systems[+a.value], systems[+b.value]];
      const notes = data.changed(one, other, 24).map(({ id, shared }) => ({ id, note: `${shared} of ${one.k} shared` }));
      inside.replaceChildren(...notes.map((hit) => board.tile(hit)));
    }
    return element("details", { class: "am-changes", hidden: systems.length < 2, ontoggle: update },
      element("summary", {}, "Where do two systems differ most?"), element("div", { class: "am-bar" }, a, b), inside);
  }

  /** The pictures that are nearest to one's own, and whether it is like the collection. */
  function compare(system: System, id: string) {
    const comparison = seeing.get(system.name)!, distances = comparison.distances(own.get(id)!.pooled);
    const rows = [...distances.keys()].sort((a, b) => distances[a] - distances[b]).slice(0, system.k);
    board.said.textContent ||= comparison.novelty(distances[rows[0]]);
    return rows.map((row) => ({ id: data.written.ids[row], value: distances[row], likely: comparison.likely(distances[row]) }));
  }

  function column(system: System, id: string): Column {
    const label = data.label(id), neighbours = own.has(id) ? compare(system, id) : data.neighbours(system, id);
    const unlikely = neighbours.findIndex(({ likely }) => likely !== null && likely < LIKELY);
    const hits = neighbours.map((hit, rank) => ({ ...hit, rank: rank + 1, same: label !== null && data.label(hit.id) === label }));
    return { name: system.name, measure: system.measure, hits, unlikely: unlikely < 0 ? null : unlikely + 1 };
  }

  function show(view: View) {
    const label = data.label(view.query), mine = own.has(view.query);
    const chosen = systems.filter(({ name }) => view.columns.includes(name)), able = chosen.filter(({ name }) => !mine || seeing.has(name));
    part.tool.hidden = !(link.hidden = mine); // a link cannot hold one's own picture
    strip.firstElementChild!.replaceWith(mine ? part.frame : element("div", { class: "am-big" }, data.sheets.canvas(view.query)));
    if (mine) part.show(view.query, nameOf(view.query));
    board.map?.show(view.map);
    board.showQuery(view.query, label);
    board.showSystems(systems.map(({ name }) => name), view.columns, (columns) => state.set({ columns }));
    board.said.textContent = label === null ? "" : "A blue frame marks the label of the query.";
    board.showColumns(able.map((system) => column(system, view.query)));
    if (able.length < chosen.length) board.said.append(" The other columns cannot see new pictures.");
    board.showSelected(view.selected.map((id) => ({ id, label: data.label(id) })));
  }

  (first ? document : root).addEventListener("keydown", (event) => {
    const { key, target } = event as KeyboardEvent;
    board.key(event as KeyboardEvent);
    if (key === "/" && !/INPUT|SELECT|TEXTAREA/.test((target as HTMLElement).tagName)) {
      event.preventDefault();
      search.focus();
    }
    if (!saved) event.stopPropagation(); // a notebook has shortcuts, such as d d: delete the cell
  });
  if (network) receive(first ? document : root, see);
  const columns = systems.slice(0, 5).map(({ name }) => name);
  const state = new State({ query: data.written.query, columns, map: "", selected: [] }, data.written.ids, first, show, own);
  show(state.view);
  data.load(state.view.query, (sheet) => board.map?.view.refresh(sheet));
  (root as any).amulsearch = { data, state, map: board.map?.view, own, seeing };
}
