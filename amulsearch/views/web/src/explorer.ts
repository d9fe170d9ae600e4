// The explorer in a notebook: the page with a kernel that answers, for new pictures, parts, thumbs and the collection.
// The messages are answered by explorer.py.

import { Board, type Chosen, type Column, type Hit } from "./board";
import { breaking, button, chooser, counted, download, element, nameOf, receive } from "./dom";
import { MapPanel } from "./map";
import { Line, Part, Pictures, thumb, type Box, type Message, type Model } from "./parts";
import { Sheets } from "./sheets";

const LONG: Record<string, string> = {
  upload: "Computing the features …", crop: "Computing the features …", map: "Laying out the map …",
};
const MOST_BYTES = 8_000_000; // a notebook server passes no larger message to the kernel
const SMALL = 240, LARGE = 480, WHOLE = 1024; // sides in pixels of the pictures that are fetched
const FUSIONS: Record<string, string> = {
  vote: "how many networks have the picture among their first 10 neighbours",
  rrf: "reciprocal rank fusion: the sum of 1 / (60 + rank) over the networks",
  combsum: "the sum of the similarities, from 0 to 1 in the list of each network",
};
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

export function render({ model, el }: { model: Model; el: HTMLElement }) {
  const sizes = [SMALL, LARGE, WHOLE].map((side) => new Pictures(model, side)), [small, large, huge] = sizes;
  let typing = 0;
  let query = "", page = 0, sheets: Sheets | null = null, last: any;

  const send = (message: Message) => line.send(message);
  const ask = (message: Message, buffers?: ArrayBuffer[]) => {
    tell("waiting", LONG[message.do] ?? "…");
    line.ask(message, buffers);
  };
  const judge = (ids: string[], relevance: number | null) => ask({ do: "judge", query: last.asked, ids, relevance });
  const about = (id: string) => send({ do: "about", id });
  const image = (id: string, alt = "") => small.into(element("img", { alt, draggable: "false" }), id);
  const root = element("div", { class: "am-answers am-alive am-explorer", "data-lm-suppress-shortcuts": "true" });
  const host = {
    query: (id: string) => ask({ do: "query", id }),
    select: (ids: string[], add: boolean) => send({ do: "select", ids, add }),
    toggle: (id: string) => send({ do: "toggle", ids: [id] }),
    picture: image, acts, about: FUSIONS,
  };
  const board = new Board(root, host), { said } = board;

  // The query, which stays in sight
  const searchPart = (id: string | undefined, [x, y, w, h]: Box) => {
    viewer.close();
    ask({ do: "crop", id, x, y, w, h });
  };
  const part = new Part(large, searchPart), wholePart = new Part(huge, searchPart);
  const examples = element("div", { class: "am-examples" });
  const text = element("input", {
    type: "search", placeholder: "find by name or keyword", "aria-label": "Find pictures by part of their name, or by keywords",
    oninput: () => {
      clearTimeout(typing);
      typing = window.setTimeout(findText, 200);
    },
    onkeydown: (event: KeyboardEvent) => {
      if (event.key === "Enter" && last.words && text.value.trim()) ask({ do: "words", text: text.value });
    },
  });
  const back = button("← Back", () => ask({ do: "back" }));
  const past = element("span", { class: "am-past", role: "group", "aria-label": "Earlier queries" });
  const layer = element("select", { "aria-label": "Layer", onchange: () => ask({ do: "look", layer: layer.value }) });
  const number = element("output");
  const count = element("input", {
    type: "range", min: 1,
    oninput: () => (number.textContent = count.value),
    onchange: () => ask({ do: "look", k: +count.value }),
  });
  const setting = (name: string, title: string, ...parts: Node[]) => element("label", { title }, element("span", {}, name), ...parts);
  const strip = element("div", { class: "am-strip" }, part.frame,
    element("div", { class: "am-about" },
      element("div", { class: "am-bar" }, board.title, examples),
      element("div", { class: "am-bar" }, text, back, past, button("Larger", () => about(query)), part.tool,
        chooser("Upload a picture", upload),
        button("Save as a page", () => ask({ do: "export" }), { title: "One HTML file in which every picture can be clicked" }),
        button("?", () => helper.showModal(), { "aria-label": "Keys", title: "Keys" })),
      board.systems,
      element("div", { class: "am-bar" }, setting("layer", "Where in the network the vectors come from", layer),
        setting("neighbours", "How many neighbours each column shows", count, number)),
      said));

  // Map, selection, collection
  const layOut = button("Lay out a map", () => ask({ do: "map" }), { title: "Similar pictures lie near each other" });
  const mapPart = element("div", { class: "am-map" }, layOut);
  const tag = element("input", { type: "text", placeholder: "a word for them", "aria-label": "Tag for the selected pictures" });
  const folder = element("input", { type: "text", placeholder: "folder", "aria-label": "Folder for copies of the files" });
  const turn = (to: number) => send({ do: "sheet", page: to, text: text.value });
  const before = button("‹", () => turn(page - 1), { "aria-label": "Previous page" });
  const after = button("›", () => turn(page + 1), { "aria-label": "Next page" });
  const sheet = element("div", { class: "am-list" });
  const selectFound = button("Select all", () => send({ do: "select_found", text: text.value }), { title: "Select all pictures that were found" });
  const collection = element("details", { open: true, class: "am-sheet" }, element("summary", {}, "The collection"), sheet);

  // A picture in large, and the keys
  const facts = element("div", { class: "am-facts" });
  const viewer = element("dialog", { class: "am-viewer", "aria-label": "Picture" }, wholePart.frame, facts,
    element("div", { class: "am-bar" }, wholePart.tool, button("Close", () => viewer.close())));
  const helper = element("dialog", { class: "am-viewer", "aria-label": "Keys" },
    element("table", {}, ...KEYS.map(([key, what]) => element("tr", {}, element("th", { scope: "row" }, key), element("td", {}, what)))),
    button("Close", () => helper.close()));

  root.append(strip,
    element("div", { class: "am-body" }, element("div", { class: "am-main" }, board.columns),
      element("div", { class: "am-beside" }, mapPart, board.selection, collection)), viewer, helper);
  root.addEventListener("keydown", (event) => {
    board.key(event, {
      "+": press("more"), "-": press("less"), u: press("up"), d: press("down"), v: press("view"),
      Backspace: () => !back.disabled && back.click(), "/": () => text.focus(),
    });
    event.stopPropagation(); // the notebook has single-letter shortcuts
  });
  receive(root, upload);
  el.append(root);
  (root as any).amulsearch = { map: () => board.map?.view };

  function press(act: string) {
    return (tile: HTMLElement) => tile.querySelector<HTMLElement>(`[data-act="${act}"]`)?.click();
  }

  /** Say something below the query, and whether an answer is awaited. */
  function tell(state: "waiting" | "done" | "wrong", ...parts: (string | Node)[]) {
    said.replaceChildren(...parts);
    said.classList.toggle("am-wrong", state === "wrong");
    root.classList.toggle("am-waiting", state === "waiting");
    layOut.disabled = state === "waiting";
  }

  function wrong(message: string) {
    tell("wrong", message);
  }

  function findText() {
    turn(0);
    collection.open = true;
    if (text.value) collection.scrollIntoView({ block: "nearest" });
  }

  async function upload([chosen]: File[]) {
    if (chosen.size > MOST_BYTES)
      return wrong(`${chosen.name} has ${(chosen.size / 1e6).toFixed(0)} MB, but an upload can have at most 8 MB: save a smaller version`);
    ask({ do: "upload", name: chosen.name }, [await chosen.arrayBuffer()]);
  }

  /** The buttons of a picture. */
  function acts(hit: Hit, column?: Column) {
    const { id, judged } = hit, name = nameOf(id);
    const act = (label: string, sign: string | Node, does: string, what: () => void, pressed?: boolean) =>
      button(sign, what, {
        class: "am-act", "data-act": does, title: label, "aria-label": `${label}: ${name}`,
        ...(pressed === undefined ? {} : { "aria-pressed": String(pressed) }),
      });
    const thumbed = (label: string, way: "up" | "down", value: number) =>
      act(label, thumb(way), way, () => judge([id], judged === value ? null : value), judged === value);
    const large = act("View large", "⤢", "view", () => about(id));
    if (!column) return [large];
    const below = element("div", { class: "am-acts" },
      act("More like this", "+", "more", () => ask({ do: "more", id })), act("Less like this", "−", "less", () => ask({ do: "less", id })));
    if (last.thumbs) below.append(thumbed("Good", "up", 1), thumbed("Not good", "down", 0));
    return [large, below];
  }

  function showView(message: any) {
    last = message;
    const [{ id, label }] = last.examples, { look, choices } = last;
    query = id;
    part.show(id, `The query, ${nameOf(id)}`);
    board.showQuery(id, label);
    examples.replaceChildren(...(last.examples.length > 1 ? last.examples : []).map((one: any) =>
      element("span", { class: `am-example am-${one.sign}` }, one.sign === "more" ? "+" : "−", image(one.id, nameOf(one.id)),
        button("×", () => ask({ do: "forget", id: one.id }), { "aria-label": `Remove ${nameOf(one.id)}` }))));
    back.disabled = !last.past.length;
    past.replaceChildren(...last.past.slice(-6).map((one: any) =>
      button(image(one.id, nameOf(one.id)), () => ask({ do: "back", to: one.at }), { title: `Back to ${nameOf(one.id)}` })));
    layer.replaceChildren(...choices.layers.map((name: string) => element("option", { value: name }, LAYERS[name] ?? name)));
    layer.value = look.layer;
    Object.assign(count, { max: Math.min(last.most, 20), value: look.k });
    number.textContent = look.k;
    board.showSystems(choices.columns, look.columns, (columns) => ask({ do: "look", columns }));
    board.showColumns(last.columns);
    showThumbs();
  }

  function showThumbs() {
    const { thumbs, novelty, ms, columns } = last;
    const time = columns.length ? `${counted(columns.length, "column")} in ${ms} ms` : "Choose at least one column";
    tell("done", `${time}${novelty ? `. ${novelty}` : ""}`);
    if (!thumbs?.all) return;
    said.append(` · ${counted(thumbs.query, "thumb")} for this query, ${thumbs.all.toLocaleString("en")} with all others and tags `);
    if (thumbs.undo) said.append(button("Undo", () => ask({ do: "undo" }), { title: "Take back the last thumb or tag" }));
  }

  function showSheet({ pages, count, ids, near, text: words, ...message }: any) {
    page = message.page;
    before.disabled = page === 0;
    after.disabled = page >= pages - 1;
    const nothing = element("div", { class: "am-bar", hidden: ids.length > 0 }, "No name and no keyword has these words.",
      near.length ? "Near names:" : null, ...near.map((id: string) => button(nameOf(id), () => ask({ do: "query", id }))));
    board.list(sheet, `${page + 1} of ${pages} · ${counted(count, "picture")}`, ids.map((id: string) => ({ id })),
      [before, after, words.trim() && count ? selectFound : null], nothing);
    board.mark();
  }

  function showSelected(rows: Chosen[]) {
    const judgeAll = (label: string, way: "up" | "down", value: number) =>
      button(thumb(way), () => judge(rows.map(({ id }) => id), value), { title: label, "aria-label": label });
    const form = (input: HTMLInputElement, label: string, what: string) => {
      const submit = (event: Event) => {
        event.preventDefault();
        ask({ do: what, text: input.value });
      };
      return element("form", { class: "am-bar", onsubmit: submit }, input, element("button", { type: "submit" }, label));
    };
    const thumbs = last?.thumbs;
    const both = [judgeAll("All of them are good for this query", "up", 1), judgeAll("None of them is good for this query", "down", 0)];
    board.showSelected(rows, thumbs ? both : [], ...(thumbs ? [form(tag, "Tag", "tag")] : []), form(folder, "Copy the files", "copy"));
  }

  function showMap({ ids, side, across, name, columns, rows }: any, cells: DataView) {
    sheets ??= new Sheets(ids, side, across);
    const buffer = cells.buffer.slice(cells.byteOffset, cells.byteOffset + cells.byteLength) as ArrayBuffer;
    board.map = new MapPanel(sheets, [{ name, columns, rows, cells: new Uint32Array(buffer) }], root, host);
    mapPart.replaceChildren(...board.map.parts);
    board.map.show(name);
    if (last) showThumbs();
    board.mark();
  }

  function takeSheet(sheet: number, content: DataView) {
    const image = sheets?.images[sheet];
    if (!image) return;
    image.onload = () => {
      URL.revokeObjectURL(image.src); // what has been loaded stays
      board.map?.view.refresh(sheet);
    };
    image.src = URL.createObjectURL(new Blob([content as BlobPart], { type: "image/webp" }));
  }

  function showAbout(message: any) {
    wholePart.show(message.id, nameOf(message.id));
    wholePart.tool.hidden = message.id !== query;
    wholePart.frame.classList.toggle("am-fixed", message.id !== query);
    facts.replaceChildren(element("strong", {}, ...breaking(nameOf(message.id))),
      ...message.facts.map((fact: string) => element("div", {}, fact)));
    viewer.showModal();
  }

  const line = new Line(model, {
    view: showView, sheet: showSheet, about: showAbout,
    selected: (message) => showSelected(message.rows),
    map: (message, [cells]) => showMap(message, cells),
    thumbnails: (message, [content]) => takeSheet(message.sheet, content),
    pictures: (message, buffers) => sizes.find(({ side }) => side === message.side)?.take(message.ids, buffers),
    error: (message) => wrong(message.text),
    done: (message) => tell("done", message.text),
    page: (message) => {
      download(message.name, new Blob([message.html], { type: "text/html" }));
      tell("done", `Saved as ${message.name}`);
    },
  }, wrong);
  model.send({ do: "start" });
  return () => {
    line.close();
    for (const pictures of sizes) pictures.free(0);
  };
}
