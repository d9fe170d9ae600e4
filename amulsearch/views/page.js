// Maps: drag, pinch, Ctrl + wheel, double-click, the keys + - 0 and the arrow keys. Without JavaScript a map is a still picture.
for (const page of document.querySelectorAll(".am-page:not(.am-alive)")) {
  page.classList.add("am-alive");
  for (const map of page.querySelectorAll(".am-map")) {
    const view = map.querySelector(".am-view"), image = view.querySelector("img"), named = map.querySelector(".am-named");
    const names = JSON.parse(map.dataset.names), columns = +map.dataset.columns, rows = +map.dataset.rows;
    const fingers = new Map();
    let scale = 1, x = 0, y = 0;
    const place = (event) => { const box = view.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    const draw = () => {
      x = Math.min(0, Math.max(x, view.clientWidth * (1 - scale)));
      y = Math.min(0, Math.max(y, view.clientHeight * (1 - scale)));
      image.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
      view.classList.toggle("am-near", scale > 1);
    };
    const zoom = (by, [px, py] = [view.clientWidth / 2, view.clientHeight / 2]) => {
      const next = Math.min(16, Math.max(1, scale * by));
      x = px - (px - x) * next / scale;
      y = py - (py - y) * next / scale;
      scale = next;
      draw();
    };
    const name = (event) => {
      const [px, py] = place(event);
      const column = Math.floor((px - x) / scale / view.clientWidth * columns);
      const row = Math.floor((py - y) / scale / view.clientHeight * rows);
      named.textContent = names[row * columns + column] || "";
    };
    view.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, place(event));
      if (scale > 1 || fingers.size > 1) view.setPointerCapture(event.pointerId);
      name(event);
    });
    view.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId), now = place(event);
      if (before && fingers.size === 1 && scale > 1) {
        x += now[0] - before[0];
        y += now[1] - before[1];
        draw();
      } else if (before && fingers.size === 2) {
        const [, other] = [...fingers].find(([id]) => id !== event.pointerId);
        const far = ([a, b]) => Math.hypot(a - other[0], b - other[1]);
        zoom(Math.max(far(now), 1) / Math.max(far(before), 1), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      }
      if (before) fingers.set(event.pointerId, now);
      else name(event);
    });
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      view.addEventListener(end, (event) => fingers.delete(event.pointerId));
    view.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the wheel alone scrolls the page
      event.preventDefault();
      zoom(Math.exp(-Math.max(-50, Math.min(50, event.deltaY)) / 100), place(event));
    }, { passive: false });
    view.addEventListener("dblclick", (event) => zoom(2, place(event)));
    const keys = {
      "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), "0": () => zoom(0),
      ArrowLeft: () => { x += 60; }, ArrowRight: () => { x -= 60; }, ArrowUp: () => { y += 60; }, ArrowDown: () => { y -= 60; },
    };
    view.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey || (scale === 1 && event.key.startsWith("Arrow"))) return;
      event.preventDefault();
      event.stopPropagation(); // a notebook has its own shortcuts for these keys
      keys[event.key]();
      draw();
    });
    for (const button of map.querySelectorAll("button")) button.addEventListener("click", () => { keys[button.dataset.key](); draw(); });
  }
}
