// The parts of the explorer: elements, thumbs, pictures fetched on demand, selection of a part, sliders, keys.

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

// A thumb drawn as SVG: not every machine has a font with one.
function thumb(way) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS(svg.namespaceURI, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `am-thumb am-${way}`);
  path.setAttribute("d", "M2 10h4v11H2z M8 21V10l5-8 2 1-1 6h8l-2 12z");
  svg.append(path);
  return svg;
}

// The file name without folders and extension; for a part or a new picture, preceded by what it is.
function nameOf(id) {
  const [, kind, of] = id.match(/^((?:part [\d,]+ of )*(?:new picture )?)(.*)$/s);
  return kind + of.replace(/ [0-9a-f]{12}$/, "").replace(/^.*\//s, "").replace(/\.[^.]+$/, "");
}

// Pictures by id, each fetched once; `into` shows one in an <img> as soon as it has arrived.
class Pictures {
  constructor(model, side) {
    Object.assign(this, { model, side, urls: new Map(), waiting: new Map(), timer: null });
  }
  into(image, id) {
    if (this.urls.has(id)) image.src = this.urls.get(id);
    else {
      if (!this.waiting.has(id)) this.waiting.set(id, []);
      this.waiting.get(id).push(image);
      this.timer ??= setTimeout(() => this.fetch()); // all pictures of a screen in one message
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

// A rectangle on the query picture, drawn with the pointer or moved with the arrow keys (Shift: resized).
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
      if (this.box[2] < 0.02 || this.box[3] < 0.02) this.set(null); // a click, not a drag
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

// A range input with its value beside it; `changed` is called when it is released.
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

// The arrow keys move from picture to picture; + and - ask for more and less like it, u and d are the thumbs.
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
