// The page of the explorer, built from the parts in explorer_parts.js. The messages are handled in explorer.py.

const MOST_BYTES = 8_000_000; // a notebook server passes no larger message to the kernel
const SMALL = 240, LARGE = 480; // side in pixels of the pictures that are fetched

function render({ model, el }) {
  const small = new Pictures(model, SMALL), large = new Pictures(model, LARGE);
  const ask = (message, buffers) => {
    const long = message.do === "upload" || message.do === "crop";
    said.textContent = long ? "Computing the features; the first new picture takes a few seconds …" : "…";
    said.classList.remove("am-wrong");
    model.send(message, undefined, buffers);
  };

  // The query
  const queryImage = element("img", { draggable: "false" });
  const frame = element("div", {
    class: "am-frame", tabindex: 0, role: "group",
    "aria-label": "The query. Select a part of it to search with: drag the pointer, or use the arrow keys (Shift changes the size)",
  }, queryImage);
  const useButton = element("button", { disabled: true, onclick: () => usePart() }, "Search with this part");
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
      return wrong(`${chosen.name} has ${(chosen.size / 1e6).toFixed(0)} MB, but an upload can have at most 8 MB: save a smaller version`);
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
    element("label", {}, element("span", {}, "Annoy trees"), ...trees.parts),
    element("label", {}, element("span", {}, "search_k"), ...nodes.parts),
    columns, said);

  // Results and the collection
  const results = element("div", { class: "am-columns" });
  const text = element("input", {
    type: "search", placeholder: "part of a name", "aria-label": "Find pictures by part of their name",
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
    event.stopPropagation(); // the notebook has single-letter shortcuts
  });
  el.append(root);

  function wrong(text) {
    said.textContent = text;
    said.classList.add("am-wrong");
  }

  function tile(row, column, thumbs) {
    const name = nameOf(row.id), act = (what) => () => ask({ do: what, id: row.id });
    const where = column ? `, rank ${row.rank} of ${column}, ${row.measure} ${row.value}${row.same ? ", same label as the query" : ""}` : "";
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
    const likely = row.probability ? ` · ${row.probability}` : "";
    const shown = column ? `${row.rank} · ${row.value}${votes}${likely}` : "";
    return element("figure", { class: `am-tile${row.same ? " am-same" : ""}`, "data-id": row.id, title: row.id },
      element("button", { class: "am-picture", onclick: act("query") }, image),
      element("figcaption", {}, element("span", { class: "am-value", title: row.probability ? `${row.measure}, and how probable it is that the label is that of the query` : row.measure }, shown), element("span", { class: "am-name" }, name)),
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
        element("button", { "aria-label": `Remove ${nameOf(one.id)}`, onclick: () => ask({ do: "forget", id: one.id }) }, "×"))));
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
    results.classList.toggle("am-single", view.columns.length === 1);
    const focused = document.activeElement?.closest?.(".am-tile")?.dataset.id;
    results.replaceChildren(...view.columns.map((column) =>
      element("section", { "aria-label": column.name }, element("h4", { title: column.name }, column.name),
        ...column.rows.flatMap((row) => [
          ...(row.rank === column.unlikely ? [element("p", { class: "am-below" }, "From here on, nothing is likely to fit")] : []),
          tile(row, column.name, view.thumbs)]))));
    if (focused) results.querySelector(`[data-id="${CSS.escape(focused)}"] .am-picture`)?.focus();
    said.textContent = view.columns.length ? `${view.columns.length} ${view.columns.length === 1 ? "column" : "columns"} in ${view.ms} ms${view.novelty ? `. ${view.novelty}` : ""}` : "Choose at least one column";
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
    const near = message.near.map((id) => element("button", { onclick: () => ask({ do: "query", id }) }, nameOf(id)));
    const nothing = near.length ? ["No name has these words. Near names: ", ...near] : ["No name has these words."];
    tiles.classList.toggle("am-none", !message.ids.length);
    tiles.replaceChildren(...(message.ids.length ? message.ids.map((id) => tile({ id }, null, false)) : nothing));
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

export default { render };
