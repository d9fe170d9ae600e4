// The explorer in a notebook: the query in a strip that stays, its neighbours in columns, a map, selections, the
// collection. The messages are answered by explorer.py.

import { breaking, button, download, element, saveTable } from "./dom";
import { MapView, mapButtons, type Layout, type Thumbnails } from "./map";
import { Part, Pictures, nameOf, slider, thumb, walk, type Model } from "./parts";

const RESTARTED = "The kernel was restarted and no longer knows this explorer: run the cell again.";
const PATIENCE = 60_000; // milliseconds
const LONG: Record<string, string> = {
  upload: "Computing the features …", crop: "Computing the features …", map: "Laying out the map …",
};
const MOST_BYTES = 8_000_000; // a notebook server passes no larger message to the kernel
const SMALL = 240, LARGE = 480, WHOLE = 1024; // sides in pixels of the pictures that are fetched
const TREES = [null, 1, 2, 5, 10, 20, 50], NODES = [10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000];
const FUSIONS: Record<string, string> = {
  vote: "how many networks have the picture among their first 10 neighbours",
  rrf: "reciprocal rank fusion: the sum of 1 / (60 + rank) over the networks",
  combsum: "the sum of the similarities, from 0 to 1 in the list of each network",
  combmnz: "the sum of the similarities, multiplied by the number of lists",
  borda: "points for the place in the list of each network",
};
const ADVANCED = ["borda", "combmnz"];
const LAYERS: Record<string, string> = {
  logits: "logits: the scores of the classes", penultimate: "penultimate: the vector before the classes",
};
const KEYS = [
  ["arrow keys", "go from picture to picture"], ["Enter", "ask with the picture"], ["+ and −", "more, less like it"],
  ["u and d", "thumb up, thumb down"], ["s", "select it, or take it out of the selection"], ["v", "view it large"],
  ["Backspace", "back to the query before"], ["/", "find pictures by name or keyword"],
  ["Enter after words", "ask with the words, if a network reads them (open_clip/…); -word is to be avoided"],
  ["on the query", "arrow keys choose a part (Shift changes its size), Enter asks with it"],
  ["on the map", "arrow keys move, + and − zoom, 0 shows all, Enter asks with the picture in the middle"],
];

interface Row {
  id: string; rank?: number; measure?: string; value?: string; votes?: number; probability?: string;
  same?: boolean; judged?: number | null;
}

/** The thumbnails of the map, which arrive sheet by sheet. */
class Sheets implements Thumbnails {
  readonly images: HTMLImageElement[] = [];
  readonly perSheet: number;
  readonly rows = new Map<string, number>();

  constructor(readonly ids: string[], readonly side: number, private readonly across: number) {
    this.perSheet = across * across;
    ids.forEach((id, row) => this.rows.set(id, row));
    for (let sheet = 0; sheet * this.perSheet < ids.length; sheet++) this.images.push(new Image());
  }

  get count() {
    return this.ids.length;
  }

  place(row: number): [number, number, number] {
    const inside = row % this.perSheet;
    return [Math.floor(row / this.perSheet), (inside % this.across) * this.side, Math.floor(inside / this.across) * this.side];
  }
}

function render({ model, el }: { model: Model; el: HTMLElement }) {
  const sizes = [SMALL, LARGE, WHOLE].map((side) => new Pictures(model, side)), [small, large, huge] = sizes;
  const ask = (message: { do: string; [name: string]: unknown }, buffers?: ArrayBuffer[]) => {
    tell(LONG[message.do] ?? "…");
    root.classList.add("am-waiting");
    clearTimeout(late);
    late = window.setTimeout(() => wrong("No answer yet: the kernel is busy, or was restarted. If it was, run the cell again."), PATIENCE);
    send(message, buffers);
  };
  const send = (message: { do: string; [name: string]: unknown }, buffers?: ArrayBuffer[]) =>
    alone ? wrong(RESTARTED) : model.send({ ...message, view: own }, undefined, buffers);
  const own = String(Math.random()); // several views can show one explorer; this one takes its own pages and facts
  let late = 0, alone = false; // alone: the kernel that knew this explorer has gone
  let query: string, view: any, selected: { id: string; label: string | null }[] = [];

  // The query, which stays in sight
  const said = element("div", { class: "am-said", role: "status", "aria-live": "polite" });
  const usePart = (part: Part, id: string | undefined) => {
    const [x, y, w, h] = part.box!;
    viewer.close();
    ask({ do: "crop", id, x, y, w, h });
  };
  const useButton = button("Search with this part", () => usePart(part, large.of(queryImage)), { disabled: true });
  const partOf = (image: HTMLImageElement, of: Pictures, use: HTMLButtonElement): Part => {
    const frame = element("div", {
      class: "am-frame", tabindex: 0, role: "group",
      "aria-label": "Select a part of the query to search with: drag the pointer, or use the arrow keys (Shift changes the size)",
    }, image);
    const made: Part = new Part(frame, image, () => usePart(made, of.of(image)), (box) => (use.disabled = !box));
    return made;
  };
  const queryImage = element("img", { draggable: "false" });
  const part = partOf(queryImage, large, useButton);
  const title = element("div", { class: "am-title" });
  const examples = element("div", { class: "am-examples" });
  const text = element("input", {
    type: "search", placeholder: "find by name or keyword", "aria-label": "Find pictures by part of their name, or by keywords",
    oninput: () => {
      clearTimeout(typing);
      typing = window.setTimeout(() => {
        turn(0);
        collection.open = true;
        if (text.value) collection.scrollIntoView({ block: "nearest" });
      }, 200);
    },
    onkeydown: (event: KeyboardEvent) => {
      if (event.key === "Enter" && view.words && text.value.trim()) ask({ do: "words", text: text.value });
    },
  });
  let typing = 0;
  const back = button("← Back", () => ask({ do: "back" }));
  const past = element("span", { class: "am-past", role: "group", "aria-label": "Earlier queries" });
  const file = element("input", { type: "file", accept: "image/*", hidden: true, onchange: () => upload(file.files![0]) });
  const page = button("Save as a page", () => ask({ do: "export" }), { title: "One HTML file in which every picture can be clicked" });
  const help = button("?", () => helper.showModal(), { "aria-label": "Keys", title: "Keys" });
  async function upload(chosen: File | undefined | null) {
    file.value = "";
    if (!chosen) return;
    if (chosen.size > MOST_BYTES)
      return wrong(`${chosen.name} has ${(chosen.size / 1e6).toFixed(0)} MB, but an upload can have at most 8 MB: save a smaller version`);
    ask({ do: "upload", name: chosen.name }, [await chosen.arrayBuffer()]);
  }

  // Settings
  const systems = element("div", { class: "am-systems", role: "group", "aria-label": "Columns" });
  const layer = element("select", { "aria-label": "Layer", onchange: () => ask({ do: "look", layer: layer.value }) });
  const count = slider(1, 10, (value) => ask({ do: "look", k: value }));
  const trees = slider(0, 6, (value) => ask({ do: "look", n_trees: TREES[value] }), (value) => String(TREES[value] ?? "exact search"));
  const nodes = slider(0, 8, (value) => ask({ do: "look", search_k: NODES[value] }), (value) => String(NODES[value]));
  const more = element("div", { class: "am-systems" });
  const setting = (name: string, told: string, ...parts: Node[]) => element("label", { title: told }, element("span", {}, name), ...parts);
  const settings = element("details", { class: "am-settings" }, element("summary", {}, "Advanced"),
    setting("Annoy trees", "Trees of the approximate index; more are slower to build and find more", ...trees.parts),
    setting("search_k", "How many nodes of the trees are searched", ...nodes.parts), more);
  const strip = element("div", { class: "am-strip" }, part.frame,
    element("div", { class: "am-about" },
      element("div", { class: "am-bar" }, title, examples),
      element("div", { class: "am-bar" }, text, back, past, button("Larger", () => about(query)), useButton,
        button("Upload a picture", () => file.click(), { title: "Or paste one, or drop it here" }), file, page, help),
      systems,
      element("div", { class: "am-bar" }, setting("layer", "Where in the network the vectors come from", layer),
        setting("neighbours", "How many neighbours each column shows", ...count.parts), settings),
      said));

  // Results, map, selection, collection
  const results = element("div", { class: "am-columns" });
  const hovered = element("span", { class: "am-hovered", hidden: true });
  const layOut = button("Lay out a map", () => {
    layOut.disabled = true;
    ask({ do: "map" });
  }, { title: "Similar pictures lie near each other" });
  const mapPart = element("div", { class: "am-map" }, layOut);
  let map: MapView | null = null, sheets: Sheets | null = null;
  const selection = element("div", { class: "am-list am-selection", hidden: true });
  const tag = element("input", { type: "text", placeholder: "a word for them", "aria-label": "Tag for the selected pictures" });
  const folder = element("input", { type: "text", placeholder: "folder", "aria-label": "Folder for copies of the files" });
  const before = button("‹", () => turn(sheet.page - 1), { "aria-label": "Previous page" });
  const after = button("›", () => turn(sheet.page + 1), { "aria-label": "Next page" });
  const place = element("span"), tiles = element("div", { class: "am-tiles" });
  const selectFound = button("Select all", () => send({ do: "select_found", text: text.value }), { title: "Select all pictures that were found" });
  let sheet = { page: 0 };
  const turn = (number: number) => send({ do: "sheet", page: number, text: text.value });
  const collection = element("details", { open: true, class: "am-sheet" }, element("summary", {}, "The collection"),
    element("div", { class: "am-bar" }, before, place, after, selectFound), tiles);

  // A picture in large, and the keys
  const whole = element("img"), facts = element("div", { class: "am-facts" });
  const useWhole = button("Search with this part", () => usePart(wholePart, huge.of(whole)), { disabled: true });
  const wholePart = partOf(whole, huge, useWhole);
  const viewer = element("dialog", { class: "am-viewer", "aria-label": "Picture" }, wholePart.frame, facts,
    element("div", { class: "am-bar" }, useWhole, button("Close", () => viewer.close())));
  const about = (id: string) => send({ do: "about", id });
  const helper = element("dialog", { class: "am-viewer", "aria-label": "Keys" },
    element("table", {}, ...KEYS.map(([key, what]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, what)))),
    button("Close", () => helper.close()));

  const root = element("div", { class: "am-answers am-alive am-explorer", "data-lm-suppress-shortcuts": "true" }, strip,
    element("div", { class: "am-body" }, element("div", { class: "am-main" }, results),
      element("div", { class: "am-beside" }, mapPart, selection, collection)), viewer, helper);
  root.addEventListener("keydown", (event) => {
    walk(root, event, {
      "+": press("more"), "-": press("less"), u: press("up"), d: press("down"), v: press("view"), s: (tile) => toggle(tile.dataset.id!),
      Backspace: () => !back.disabled && back.click(), "/": () => text.focus(),
    });
    event.stopPropagation(); // the notebook has single-letter shortcuts
  });
  root.addEventListener("paste", (event) => upload(event.clipboardData?.files[0]));
  root.addEventListener("dragover", (event) => event.preventDefault());
  root.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    upload(event.dataTransfer?.files[0]);
  });
  el.append(root);
  (root as any).amulsearch = { map: () => map };

  function press(act: string) {
    return (tile: HTMLElement) => tile.querySelector<HTMLElement>(`[data-act="${act}"]`)?.click();
  }

  function tell(...text: (string | Node)[]) {
    said.replaceChildren(...text);
    said.classList.remove("am-wrong");
  }

  function wrong(text: string) {
    clearTimeout(late);
    tell(text);
    said.classList.add("am-wrong");
    layOut.disabled = false;
    root.classList.remove("am-waiting");
  }

  function select(ids: string[], add = false) {
    send({ do: "select", ids, add });
  }

  function toggle(id: string) {
    send({ do: "toggle", ids: [id] });
  }

  function judge(ids: string[], relevance: number | null) {
    ask({ do: "judge", query: view.asked, ids, relevance });
  }

  function tile(row: Row, column: string | null) {
    const name = nameOf(row.id), send = (what: string) => () => ask({ do: what, id: row.id });
    const where = column ? `, rank ${row.rank} of ${column}, ${row.measure} ${row.value}${row.same ? ", same label as the query" : ""}` : "";
    const image = small.into(element("img", { alt: name + where, draggable: "false" }), row.id);
    const act = (label: string, sign: string | Node, does: string, what: () => void, pressed?: boolean) =>
      button(sign, what, { class: "am-act", "data-act": does, title: label, "aria-label": `${label}: ${name}`, ...(pressed === undefined ? {} : { "aria-pressed": String(pressed) }) });
    const thumbed = (value: number) => () => judge([row.id], row.judged === value ? null : value);
    const acts = element("div", { class: "am-acts" }, act("More like this", "+", "more", send("more")), act("Less like this", "−", "less", send("less")));
    if (view?.thumbs)
      acts.append(act("Good", thumb("up"), "up", thumbed(1), row.judged === 1), act("Not good", thumb("down"), "down", thumbed(0), row.judged === 0));
    const told = [
      row.measure === "distance" ? "distance: the smaller, the more similar" : `score: ${FUSIONS[column ?? ""] ?? "the higher, the more similar"}`,
      ...(row.votes ? ["votes: in how many lists the picture is"] : []),
      ...(row.probability ? ["per cent: how probable it is that the label is that of the query"] : []),
    ];
    const votes = row.votes ? ` · ${row.votes} ${row.votes === 1 ? "vote" : "votes"}` : "";
    const value = `${row.rank} · ${row.value}${votes}${row.probability ? ` · ${row.probability}` : ""}`;
    return element("figure", { class: `am-tile${row.same ? " am-same" : ""}`, "data-id": row.id, title: row.id },
      button(image, () => {}, {
        class: "am-picture",
        onclick: (event: MouseEvent) => (event.ctrlKey || event.metaKey || event.shiftKey ? toggle(row.id) : send("query")()),
        onpointerenter: () => hover(row.id),
      }),
      element("figcaption", {}, column ? element("span", { class: "am-value", title: told.join("\n") }, value) : null, element("span", { class: "am-name" }, name)),
      act("View large", "⤢", "view", () => about(row.id)), column ? acts : null);
  }

  function chip(name: string) {
    const on = view.look.columns.includes(name);
    const columns = () => view.choices.columns.filter((one: string) => (one === name ? !on : view.look.columns.includes(one)));
    return button(name, () => ask({ do: "look", columns: columns() }), { "aria-pressed": String(on), title: FUSIONS[name] ?? "" });
  }

  function showView(message: any) {
    view = message;
    query = view.examples[0].id;
    queryImage.alt = `The query, ${nameOf(query)}`;
    large.into(queryImage, query);
    part.set(null);
    title.replaceChildren(element("strong", {}, ...breaking(nameOf(query))), element("span", {}, view.examples[0].label ?? ""));
    title.title = query;
    examples.replaceChildren(...(view.examples.length > 1 ? view.examples : []).map((one: any) =>
      element("span", { class: `am-example am-${one.sign}` },
        one.sign === "more" ? "+" : "−", small.into(element("img", { alt: nameOf(one.id) }), one.id),
        button("×", () => ask({ do: "forget", id: one.id }), { "aria-label": `Remove ${nameOf(one.id)}` }))));
    back.disabled = !view.past.length;
    past.replaceChildren(...view.past.slice(-6).map((one: any) =>
      button(small.into(element("img", { alt: nameOf(one.id) }), one.id), () => ask({ do: "back", to: one.at }), { title: `Back to ${nameOf(one.id)}` })));
    layer.replaceChildren(...view.choices.layers.map((name: string) => element("option", { value: name }, LAYERS[name] ?? name)));
    layer.value = view.look.layer;
    count.show(view.look.k, Math.min(view.most, 20));
    trees.show(Math.max(TREES.indexOf(view.look.n_trees), 0));
    nodes.show(NODES.indexOf(view.look.search_k));
    nodes.input.disabled = view.look.n_trees === null;
    const rare = (name: string) => ADVANCED.includes(name);
    systems.replaceChildren(...view.choices.columns.filter((name: string) => !rare(name)).map(chip));
    more.replaceChildren(...view.choices.columns.filter(rare).map(chip));
    results.style.setProperty("--columns", String(view.columns.length));
    results.classList.toggle("am-single", view.columns.length === 1);
    const focused = (document.activeElement?.closest?.(".am-tile") as HTMLElement)?.dataset.id;
    results.replaceChildren(...view.columns.map((column: any) =>
      element("section", { "aria-label": column.name }, element("h4", { title: FUSIONS[column.name] ?? column.name }, ...breaking(column.name)),
        ...column.rows.flatMap((row: Row) => [
          ...(row.rank === column.unlikely ? [element("p", { class: "am-below" }, "From here on, nothing is likely to fit")] : []),
          tile(row, column.name)]))));
    if (focused) results.querySelector<HTMLElement>(`[data-id="${CSS.escape(focused)}"] .am-picture`)?.focus();
    showThumbs();
    root.classList.remove("am-waiting");
    mark();
  }

  function showThumbs() {
    const { thumbs, novelty, ms, columns } = view;
    const told = columns.length ? `${columns.length} ${columns.length === 1 ? "column" : "columns"} in ${ms} ms` : "Choose at least one column";
    tell(`${told}${novelty ? `. ${novelty}` : ""}`);
    if (!thumbs || !thumbs.all) return;
    said.append(` · ${thumbs.query} ${thumbs.query === 1 ? "thumb" : "thumbs"} for this query, ${thumbs.all.toLocaleString("en")} with all others and tags `);
    if (thumbs.undo) said.append(button("Undo", () => ask({ do: "undo" }), { title: "Take back the last thumb or tag" }));
  }

  function showSheet(message: any) {
    sheet = message;
    place.textContent = `${message.page + 1} of ${message.pages} · ${message.count.toLocaleString("en")} ${message.count === 1 ? "picture" : "pictures"}`;
    before.disabled = message.page === 0;
    after.disabled = message.page >= message.pages - 1;
    selectFound.hidden = !message.text.trim() || !message.count;
    const near = message.near.map((id: string) => button(nameOf(id), () => ask({ do: "query", id })));
    const none = "No name and no keyword has these words.";
    const nothing = near.length ? [`${none} Near names: `, ...near] : [none];
    tiles.classList.toggle("am-none", !message.ids.length);
    tiles.replaceChildren(...(message.ids.length ? message.ids.map((id: string) => tile({ id }, null)) : nothing));
    mark();
  }

  function showSelected(rows: { id: string; label: string | null }[]) {
    selected = rows;
    const ids = rows.map((one) => one.id);
    const all = (label: string, value: number) =>
      view.thumbs ? button(thumb(value ? "up" : "down"), () => judge(ids, value), { title: label, "aria-label": label }) : null;
    const form = (input: HTMLInputElement, label: string, what: string) =>
      element("form", { class: "am-bar", onsubmit: (event: Event) => { event.preventDefault(); ask({ do: what, text: input.value }); } },
        input, element("button", { type: "submit" }, label));
    selection.hidden = !rows.length;
    selection.replaceChildren(
      element("div", { class: "am-bar" }, element("strong", {}, `${rows.length.toLocaleString("en")} selected`),
        button("Save as CSV", () => saveTable(selected)), all("All of them are good for this query", 1), all("None of them is good for this query", 0),
        button("Clear", () => select([]))),
      ...(view.thumbs ? [form(tag, "Tag", "tag")] : []), form(folder, "Copy the files", "copy"),
      element("div", { class: "am-tiles" }, ...ids.slice(0, 60).map((id) => tile({ id }, null))),
      ids.length > 60 ? `and ${(ids.length - 60).toLocaleString("en")} more` : "");
    mark();
  }

  /** Show on the pictures and on the map what is selected, found and asked. */
  function mark() {
    const ids = new Set(selected.map((one) => one.id));
    for (const one of root.querySelectorAll<HTMLElement>(".am-tile")) one.classList.toggle("am-selected", ids.has(one.dataset.id!));
    if (!map || !sheets || !view) return;
    const rows = (all: Iterable<string>) => [...all].map((id) => sheets!.rows.get(id)).filter((row) => row !== undefined);
    const found: string[] = view.columns.flatMap((column: any) => column.rows.map((row: Row) => row.id));
    map.mark(sheets.rows.get(query) ?? -1, rows(found), rows(ids));
  }

  function hover(id: string | null) {
    hovered.textContent = id === null ? "" : nameOf(id);
    hovered.hidden = id === null;
  }

  function showMap(message: any, cells: DataView) {
    const made = (sheets = new Sheets(message.ids, message.side, message.across));
    map = new MapView(made, (row) => ask({ do: "query", id: made.ids[row] }), (row) => hover(row === null ? null : made.ids[row]),
      (rows, add) => select(rows.map((row) => made.ids[row]), add));
    mapPart.replaceChildren(element("div", { class: "am-bar" }, ...mapButtons([map], root)),
      element("div", { class: "am-canvas" }, map.canvas, hovered));
    const { columns, rows } = message, buffer = cells.buffer.slice(cells.byteOffset, cells.byteOffset + cells.byteLength);
    map.show({ name: message.name, columns, rows, cells: new Uint32Array(buffer as ArrayBuffer) } satisfies Layout);
    root.classList.remove("am-waiting");
    if (view) showThumbs();
    mark();
  }

  function showAbout(message: any) {
    whole.alt = nameOf(message.id);
    huge.into(whole, message.id);
    wholePart.set(null);
    useWhole.hidden = message.id !== query;
    wholePart.frame.classList.toggle("am-fixed", message.id !== query);
    facts.replaceChildren(element("strong", {}, ...breaking(nameOf(message.id))),
      ...message.facts.map((fact: string) => element("div", {}, fact)));
    viewer.showModal();
  }

  const takers: Record<string, (message: any, buffers: DataView[]) => void> = {
    view: showView, sheet: showSheet, about: showAbout,
    selected: (message) => showSelected(message.rows),
    map: (message, [cells]) => showMap(message, cells),
    thumbnails: ({ sheet }, [content]) => {
      const image = sheets?.images[sheet];
      if (!image) return;
      image.onload = () => {
        URL.revokeObjectURL(image.src); // what has been loaded stays
        map?.refresh(sheet);
      };
      image.src = URL.createObjectURL(new Blob([content as BlobPart], { type: "image/webp" }));
    },
    error: (message) => wrong(message.text),
    done: (message) => {
      tell(message.text);
      root.classList.remove("am-waiting");
    },
    pictures: (message, buffers) => sizes.find((one) => one.side === message.side)?.take(message.ids, buffers),
    page: (message) => {
      download(message.name, new Blob([message.html], { type: "text/html" }));
      tell(`Saved as ${message.name}`);
      root.classList.remove("am-waiting");
    },
  };
  const take = (message: any, buffers: DataView[]) => {
    if (message.to !== undefined && message.to !== own) return;
    clearTimeout(late);
    takers[message.say]?.(message, buffers);
  };
  const left = () => {
    alone = true;
    wrong(RESTARTED);
  };
  model.on("msg:custom", take);
  model.on("comm_live_update", left); // it is live when it is made
  model.send({ do: "start" });
  return () => {
    model.off("msg:custom", take);
    model.off("comm_live_update", left);
    for (const one of sizes) one.free(0);
  };
}

export default { render };
