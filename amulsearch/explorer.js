// The looks of the explorer. What is asked and answered is in explorer.py.

const MOST_BYTES = 8_000_000; // a notebook's server passes no larger message to the kernel
const SMALL = 240, LARGE = 480; // pixels of the pictures that are fetched

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// A drawn thumb: not every machine has a font with one.
function thumb(way) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `am-thumb am-${way}`);
  path.setAttribute("d", "M2 10h4v11H2z M8 21V10l5-8 2 1-1 6h8l-2 12z");
  svg.append(path);
  return svg;
}

// The file's name without folders and ending; of a part or a new picture also that it is one.
function nameOf(id) {
  const [, kind, of] = id.match(/^((?:part [\d,]+ of )*(?:new picture )?)(.*)$/s);
  return kind + of.replace(/ [0-9a-f]{12}$/, "").replace(/^.*\//s, "").replace(/\.[^.]+$/, "");
}

// Pictures by id, fetched once each; `into` an <img> as soon as they are here.
class Pictures {
  constructor(model, side) {
    Object.assign(this, { model, side, urls: new Map(), waiting: new Map(), timer: null });
  }
  into(image, id) {
    if (this.urls.has(id)) image.src = this.urls.get(id);
    else {
      if (!this.waiting.has(id)) this.waiting.set(id, []);
      this.waiting.get(id).push(image);
      this.timer ??= setTimeout(() => this.fetch()); // all of one screen at once
    }
    return image;
  }
  fetch() {
    this.timer = null;
    const ids = [...this.waiting.keys()].filter((id) => !this.urls.has(id));
    if (ids.length) this.model.send({ do: "pictures", ids, side: this.side });
  }
  take(ids, buffers) {
    ids.forEach((id, place) => {
      if (!this.waiting.has(id)) return;
      const url = URL.createObjectURL(new Blob([buffers[place]], { type: "image/jpeg" }));
      this.urls.set(id, url);
      for (const image of this.waiting.get(id)) image.src = url;
      this.waiting.delete(id);
    });
  }
}

// A rectangle on the query's picture, drawn by pointer or with the arrow keys (Shift: its size).
class Part {
  constructor(frame, image, use, changed) {
    Object.assign(this, { frame, image, use, changed, box: null });
    this.shade = element("div", { class: "am-part", hidden: true });
    frame.append(this.shade);
    frame.addEventListener("pointerdown", (event) => this.down(event));
    frame.addEventListener("keydown", (event) => this.key(event));
  }
  at(event) {
    const { left, top, width, height } = this.image.getBoundingClientRect();
    const within = (value) => Math.min(1, Math.max(0, value));
    return [within((event.clientX - left) / width), within((event.clientY - top) / height)];
  }
  down(event) {
    event.preventDefault();
    this.frame.focus();
    this.frame.setPointerCapture(event.pointerId);
    const [x, y] = this.at(event);
    const move = (event) => {
      const [u, v] = this.at(event);
      this.set([Math.min(x, u), Math.min(y, v), Math.abs(u - x), Math.abs(v - y)]);
    };
    const up = (event) => {
      this.frame.removeEventListener("pointermove", move);
      this.frame.removeEventListener("pointerup", up);
      move(event);
      if (this.box[2] < 0.02 || this.box[3] < 0.02) this.set(null); // a mere click
    };
    this.frame.addEventListener("pointermove", move);
    this.frame.addEventListener("pointerup", up);
  }
  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") this.set(null);
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
  }
  set(box) {
    this.box = box;
    this.shade.hidden = !box;
    if (box) ["left", "top", "width", "height"].forEach((name, i) => (this.shade.style[name] = `${100 * box[i]}%`));
    this.changed(box);
  }
}

function render({ model, el }) {
  const small = new Pictures(model, SMALL), large = new Pictures(model, LARGE);
  const ask = (message, buffers) => {
    said.textContent = message.do === "pictures" ? said.textContent : "…";
    said.classList.remove("am-wrong");
    model.send(message, undefined, buffers);
  };

  // The query
  const queryImage = element("img", { draggable: "false" });
  const frame = element("div", {
    class: "am-frame", tabindex: 0, role: "group",
    "aria-label": "The query. Draw a part to ask with it: by pointer, or with the arrow keys (Shift changes the size)",
  }, queryImage);
  const useButton = element("button", { disabled: true, onclick: () => usePart() }, "Ask with the part");
  const part = new Part(frame, queryImage, () => usePart(), (box) => (useButton.disabled = !box));
  const usePart = () => {
    const [x, y, w, h] = part.box;
    ask({ do: "crop", x, y, w, h });
  };
  const caption = element("div", { class: "am-name" });
  const examples = element("div", { class: "am-examples" });

  // Controls
  const back = element("button", { onclick: () => ask({ do: "back" }) }, "← Back");
  const file = element("input", { type: "file", accept: "image/*", hidden: true, onchange: () => upload(file.files[0]) });
  const uploadButton = element("button", { onclick: () => file.click() }, "Upload a picture");
  const page = element("button", { onclick: () => ask({ do: "export" }) }, "Save as a page");
  const said = element("div", { class: "am-said", role: "status", "aria-live": "polite" });
  async function upload(chosen) {
    file.value = "";
    if (!chosen) return;
    if (chosen.size > MOST_BYTES) {
      return wrong(`${chosen.name} has ${(chosen.size / 1e6).toFixed(0)} MB, and at most 8 MB can be uploaded: save it smaller`);
    }
    ask({ do: "upload", name: chosen.name }, [await chosen.arrayBuffer()]);
  }
  const layer = element("select", { onchange: () => ask({ do: "look", layer: layer.value }) });
  const count = slider(1, 10, (value) => ask({ do: "look", k: value }));
  const trees = slider(0, 6, (value) => ask({ do: "look", n_trees: TREES[value] }), (value) => TREES[value] ?? "exact search");
  const nodes = slider(0, 8, (value) => ask({ do: "look", search_k: NODES[value] }), (value) => NODES[value]);
  const columns = element("div", { class: "am-choices" });
  const controls = element("div", { class: "am-controls" },
    element("div", { class: "am-buttons" }, back, uploadButton, file, useButton, page),
    element("label", {}, element("span", {}, "layer"), layer),
    element("label", {}, element("span", {}, "neighbours"), ...count.parts),
    element("label", {}, element("span", {}, "Annoy's trees"), ...trees.parts),
    element("label", {}, element("span", {}, "search_k"), ...nodes.parts),
    columns, said);

  // Results and the collection
  const results = element("div", { class: "am-columns" });
  const text = element("input", {
    type: "search", placeholder: "part of a name", "aria-label": "Find pictures by a part of their name",
    oninput: () => { clearTimeout(text.timer); text.timer = setTimeout(() => turn(0), 200); },
  });
  const before = element("button", { "aria-label": "Previous page", onclick: () => turn(sheet.page - 1) }, "‹");
  const after = element("button", { "aria-label": "Next page", onclick: () => turn(sheet.page + 1) }, "›");
  const place = element("span", {}), tiles = element("div", { class: "am-tiles" });
  let sheet = { page: 0 };
  const turn = (number) => model.send({ do: "sheet", page: number, text: text.value });
  const collection = element("details", { open: true, class: "am-sheet" },
    element("summary", {}, "The collection"),
    element("div", { class: "am-pager" }, text, before, place, after), tiles);

  const root = element("div", { class: "am-explorer", "data-lm-suppress-shortcuts": "true" },
    element("div", { class: "am-top" },
      element("div", { class: "am-query" }, frame, caption, examples), controls),
    results, collection);
  root.addEventListener("keydown", (event) => {
    walk(root, event);
    event.stopPropagation(); // the notebook has shortcuts of one letter
  });
  el.append(root);

  function wrong(text) {
    said.textContent = text;
    said.classList.add("am-wrong");
  }

  function tile(row, column, thumbs) {
    const name = nameOf(row.id), act = (what) => () => ask({ do: what, id: row.id });
    const where = column ? `, ${row.rank}. of ${column}, ${row.measure} ${row.value}${row.same ? ", the query's label" : ""}` : "";
    const image = small.into(element("img", { alt: name + where, draggable: "false" }), row.id);
    const small_button = (label, sign, what, pressed) =>
      element("button", { class: "am-act", title: label, "aria-label": `${label}: ${name}`, "aria-pressed": pressed, onclick: what }, sign);
    const judge = (value) => () => ask({ do: "judge", id: row.id, relevance: row.judged === value ? null : value });
    const acts = element("div", { class: "am-acts" },
      small_button("More like this", "+", act("more")), small_button("Less like this", "−", act("less")));
    if (thumbs) {
      acts.append(
        small_button("Good", thumb("up"), judge(1), String(row.judged === 1)),
        small_button("Not good", thumb("down"), judge(0), String(row.judged === 0)));
    }
    const votes = row.votes ? ` · ${row.votes} votes` : "";
    const shown = column ? `${row.rank} · ${row.value}${votes}` : "";
    return element("figure", { class: `am-tile${row.same ? " am-same" : ""}`, "data-id": row.id, title: row.id },
      element("button", { class: "am-picture", onclick: act("query") }, image),
      element("figcaption", {}, element("span", { class: "am-value", title: row.measure }, shown), element("span", { class: "am-name" }, name)),
      ...(column ? [acts] : []));
  }

  function showView(view) {
    const [first] = view.examples;
    queryImage.alt = `The query, ${nameOf(first.id)}`;
    large.into(queryImage, first.id);
    part.set(null);
    caption.replaceChildren(nameOf(first.id), element("small", {}, first.label ?? ""));
    examples.replaceChildren(...(view.examples.length > 1 ? view.examples : []).map((one) =>
      element("span", { class: `am-example am-${one.sign}` },
        one.sign === "more" ? "+" : "−", small.into(element("img", { alt: nameOf(one.id) }), one.id),
        element("button", { "aria-label": `Leave out ${nameOf(one.id)}`, onclick: () => ask({ do: "forget", id: one.id }) }, "×"))));
    back.disabled = !view.back;
    layer.replaceChildren(...view.choices.layers.map((name) => element("option", {}, name)));
    layer.value = view.look.layer;
    count.show(view.look.k, Math.min(view.most, 20));
    trees.show(Math.max(TREES.indexOf(view.look.n_trees), 0));
    nodes.show(NODES.indexOf(view.look.search_k));
    nodes.input.disabled = view.look.n_trees === null;
    columns.replaceChildren(...view.choices.columns.map((name) => {
      const box = element("input", { type: "checkbox", checked: view.look.columns.includes(name), onchange: choose });
      box.name = name;
      return element("label", {}, box, name);
    }));
    results.style.setProperty("--columns", view.columns.length);
    const focused = document.activeElement?.closest?.(".am-tile")?.dataset.id;
    results.replaceChildren(...view.columns.map((column) =>
      element("section", { "aria-label": column.name }, element("h4", { title: column.name }, column.name),
        ...column.rows.map((row) => tile(row, column.name, view.thumbs)))));
    if (focused) results.querySelector(`[data-id="${CSS.escape(focused)}"] .am-picture`)?.focus();
    said.textContent = view.columns.length ? `${view.columns.length} columns in ${view.ms} ms` : "Choose a column";
  }
  const choose = () => {
    const boxes = [...columns.querySelectorAll("input")];
    ask({ do: "look", columns: boxes.filter((box) => box.checked).map((box) => box.name) });
  };

  function showSheet(message) {
    sheet = message;
    place.textContent = `${message.page + 1} of ${message.pages} · ${message.count.toLocaleString("en")} pictures`;
    before.disabled = message.page === 0;
    after.disabled = message.page >= message.pages - 1;
    tiles.replaceChildren(...message.ids.map((id) => tile({ id }, null, false)));
  }

  const take = (message, buffers) => {
    if (message.say === "view") showView(message);
    else if (message.say === "sheet") showSheet(message);
    else if (message.say === "error") wrong(message.text);
    else if (message.say === "pictures") for (const pictures of [small, large]) pictures.side === message.side && pictures.take(message.ids, buffers);
    else if (message.say === "page") {
      const link = element("a", { download: message.name, href: URL.createObjectURL(new Blob([message.html], { type: "text/html" })) });
      link.click();
      said.textContent = `saved as ${message.name}`;
    }
  };
  model.on("msg:custom", take);
  model.send({ do: "start" });
  return () => model.off("msg:custom", take);
}

const TREES = [null, 1, 2, 5, 10, 20, 50], NODES = [10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000];

// A range input that says its value beside it, and tells it when it is let go.
function slider(least, most, changed, name = (value) => value) {
  const output = element("output");
  const input = element("input", {
    type: "range", min: least, max: most,
    oninput: () => (output.textContent = name(Number(input.value))),
    onchange: () => changed(Number(input.value)),
  });
  const show = (value, limit = most) => {
    Object.assign(input, { max: limit, value });
    output.textContent = name(value);
  };
  return { input, show, parts: [input, output] };
}

// Arrow keys go from picture to picture; + and - are more and less like it, u and d the thumbs.
function walk(root, event) {
  const at = event.target.closest?.(".am-picture");
  if (!at || event.ctrlKey || event.altKey || event.metaKey) return;
  const acts = at.parentElement.querySelectorAll(".am-act"), act = { "+": 0, "-": 1, u: 2, d: 3 }[event.key];
  if (act !== undefined) return acts[act]?.click();
  const sign = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!sign) return;
  event.preventDefault();
  const { x, y, width, height } = at.getBoundingClientRect();
  let best = null, least = Infinity;
  for (const other of root.querySelectorAll(".am-picture")) {
    const box = other.getBoundingClientRect(), across = box.x - x, down = box.y - y;
    const along = across * sign[0] + down * sign[1], aside = Math.abs(across * sign[1]) + Math.abs(down * sign[0]);
    const far = along + 3 * aside;
    if (along > Math.min(width, height) / 2 && far < least) [best, least] = [other, far];
  }
  best?.focus();
}

export default { render };
