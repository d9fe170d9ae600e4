// The jury in a notebook: a query, two pictures, and which of them a person wants found. The messages are answered by
// jury_widget.py.

import { breaking, button, counted, element, nameOf } from "./dom";
import { Line, type Message, type Model } from "./parts";

interface Standing {
  system: string;
  precision: number; // P@5, as it is predicted
  low: number;
  high: number;
  best: number; // the probability that it is the best
  worse: boolean;
  ms?: number; // for a new picture
  kB?: number; // of vectors, a picture
}

interface Told {
  count: number;
  most: number;
  systems: Standing[];
  ids?: string[]; // the query, the left and the right picture
  pictures?: string[]; // their addresses
  verdict?: string;
}

const UNDO = "undo";
const KEYS: Record<string, string> = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "both", ArrowDown: "neither", Backspace: UNDO, u: UNDO,
};
const hundredths = (value: number) => value.toFixed(2).replace(/^0/, "");

export function render({ model, el }: { model: Model; el: HTMLElement }) {
  let ids: string[] = [], waiting = true;

  const number = element("div", { class: "am-number", role: "status", "aria-live": "polite" });
  const bar = element("progress", { "aria-label": "Questions answered" });
  const images = ["The query", "left", "right"].map(() => element("img", { draggable: "false" })), [query, left, right] = images;
  const choice = (answer: string, keys: string, ...label: (string | Node)[]) => {
    const made = button("", () => press(answer), { "aria-keyshortcuts": keys, "data-answer": answer });
    made.replaceChildren(...label);
    return made;
  };
  const undo = choice(UNDO, "Backspace u", "undo (u)");
  const question = element("div", { class: "am-question", hidden: true },
    element("div", { class: "am-asked" }, query),
    element("p", {}, "Which of these is near enough to the picture above that you want it found?"),
    element("div", { class: "am-pair" },
      choice("left", "ArrowLeft", left, element("span", {}, "← left")), choice("right", "ArrowRight", right, element("span", {}, "right →"))),
    element("div", { class: "am-bar" }, choice("both", "ArrowUp", "↑ both"), choice("neither", "ArrowDown", "↓ neither")));
  const verdict = element("div", { class: "am-verdict", hidden: true });
  const standing = element("p", { class: "am-standing" });
  const said = element("div", { class: "am-said", role: "alert" });
  const root = element("div", {
    class: "am-answers am-alive am-jury", tabindex: 0, role: "group", "aria-label": "The jury: which pictures do you want found?",
    "data-lm-suppress-shortcuts": "true",
  }, element("div", { class: "am-bar am-progress" }, number, bar, undo), said, question, verdict, standing,
  element("p", { class: "am-hint" }, "Click into this frame to answer with the keys."));

  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the notebook has single-letter shortcuts
    const answer = KEYS[event.key];
    if (!answer || event.ctrlKey || event.altKey || event.metaKey || (answer !== UNDO && question.hidden)) return;
    event.preventDefault();
    if (!event.repeat) press(answer);
  });
  el.append(root);

  /** Answer the question that is seen; what is pressed before the next one has come does not count. */
  function press(answer: string) {
    if (waiting) return;
    ask(answer === UNDO ? { do: "undo" } : { do: "answer", nearer: answer, ids });
  }

  function ask(message: Message) {
    waiting = true;
    root.classList.add("am-waiting");
    line.ask(message);
  }

  function tell(text = "") {
    said.textContent = text;
    waiting = false;
    root.classList.remove("am-waiting");
  }

  function show(told: Told) {
    const { count, most, systems } = told, { activeElement } = document, within = root.contains(activeElement);
    const free = !number.textContent && !activeElement?.closest("input, textarea, [contenteditable=true]"); // nobody types
    number.textContent = told.ids ? `Question ${count + 1} of at most ${most}` : `${counted(count, "question")} answered`;
    Object.assign(bar, { max: most, value: count });
    bar.hidden = !told.ids;
    ids = told.ids ?? [];
    ids.forEach((id, at) => Object.assign(images[at], { src: told.pictures![at], alt: nameOf(id) }));
    question.hidden = !told.ids;
    verdict.hidden = Boolean(told.ids);
    verdict.replaceChildren(...(told.verdict ? [element("p", {}, ...breaking(told.verdict)), table(systems)] : []));
    standing.textContent = told.ids ? `P@5, as predicted so far: ${systems.map(short).join(", ")}` : "";
    if (free || (within && !root.contains(document.activeElement))) root.focus(); // at first, or if what had it is hidden
    tell();
  }

  const line = new Line(model, { jury: show, error: (message) => tell(message.text) }, tell);
  ask({ do: "start" });
  return () => line.close();
}

const short = ({ system, precision }: Standing) => `${system} ${hundredths(precision)}`;

function table(systems: Standing[]) {
  const costs = systems[0].ms !== undefined;
  const row = (one: Standing) => element("tr", { class: one.worse ? "am-worse" : "" },
    element("th", { scope: "row" }, ...breaking(one.system)), element("td", {}, hundredths(one.precision)),
    element("td", {}, `${hundredths(one.low)} to ${hundredths(one.high)}`), element("td", {}, one.worse ? "worse" : `${(100 * one.best).toFixed(0)}%`),
    ...(costs ? [one.ms!, one.kB!] : []).map((cost) => element("td", {}, cost.toFixed(cost < 10 ? 1 : 0))));
  const titles = ["system", "P@5", "95% interval", "best", ...(costs ? ["ms", "kB"] : [])].map((title) => element("th", { scope: "col" }, title));
  return element("table", {}, element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...systems.map(row)));
}
